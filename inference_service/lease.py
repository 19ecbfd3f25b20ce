"""How a request holds a version while it needs it."""

from __future__ import annotations

import time
from collections.abc import Callable

from inference_service.resident import ResidentVersion
from inference_service.served_version import ServedVersion


class Lease:
    """Holds a READY version from entering to leaving; enter it before the event loop does anything else.

    A class and not a generator: every request goes through it.
    """

    __slots__ = ("_ended", "_version")

    def __init__(self, version: ServedVersion, ended: Callable[[ServedVersion], object]) -> None:
        """Take what to call when the version's last lease ends."""
        self._version = version
        self._ended = ended

    def __enter__(self) -> ResidentVersion:
        version = self._version
        if version.resident is None:
            raise RuntimeError(f"{version.name} is {version.state} without being loaded")
        version.num_leases += 1
        version.used_at = time.monotonic()
        return version.resident

    def __exit__(self, *_: object) -> None:
        self._version.num_leases -= 1
        if not self._version.num_leases:
            self._ended(self._version)
