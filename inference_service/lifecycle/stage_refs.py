"""Reference counts of the stages in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping

from inference_service.lifecycle.served_version import ServedVersion


class InMemory:
    """Holds the size of each stage in memory, a shared one once; call `note` after every load and unload."""

    def __init__(self) -> None:
        self.stages: dict[Hashable, int] = {}
        self._num_users: Counter[Hashable] = Counter()
        self._held: dict[ServedVersion, Mapping[Hashable, int]] = {}

    def note(self, version: ServedVersion) -> None:
        """Record that a version was loaded, loaded anew or freed."""
        before = self._held.pop(version, {})
        if version.resident is not None:
            self._held[version] = {stage.identity: stage.size_bytes for stage in version.resident.stages}
            self._num_users.update(self._held[version].keys())
            self.stages |= self._held[version]
        self._num_users.subtract(before.keys())
        for key in before:
            if not self._num_users[key]:
                del self.stages[key], self._num_users[key]
