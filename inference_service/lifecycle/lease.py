"""How a request holds a version while it needs it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from inference_service.lifecycle.served_version import ServedVersion
from inference_service.lifecycle.traffic import ShadowCounts
from inference_service.models.resident import ResidentVersion


class Lease:
    """Holds a READY version from entering to leaving; enter it before the event loop does anything else.

    A class and not a generator: every request goes through it.
    """

    __slots__ = ("_ended", "_version", "shadow")

    def __init__(
        self, version: ServedVersion, ended: Callable[[ServedVersion], object], shadow: Shadow | None = None
    ) -> None:
        """Take what to call when the version's last lease ends, and what else the request is to be run on."""
        self._version = version
        self._ended = ended
        self.shadow = shadow

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


@dataclass(frozen=True)
class Shadow:
    """A request that is to be run on a shadow too; `lease` holds that version, or gives None where it is not READY."""

    lease: Callable[[], Lease | None]
    counts: ShadowCounts
