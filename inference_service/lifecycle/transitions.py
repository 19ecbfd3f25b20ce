"""Performs the policy's actions: each changes the state of one version, at once or when a load or a lease ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

import structlog

from inference_service.errors import OutOfDeviceMemory
from inference_service.lifecycle.load_tasks import Loading
from inference_service.lifecycle.policy import Action, Defer, Evict, Load, Measure, Refuse, Unload, VersionState
from inference_service.lifecycle.served_version import ServedVersion

_log = structlog.get_logger()


class Transitions:
    """Performs actions, and calls `settled` after every change of state; use it on the event loop only."""

    def __init__(
        self, loading: Loading, settled: Callable[[ServedVersion], object], *, drain_deadline_seconds: float
    ) -> None:
        self._loading = loading
        self._settled = settled
        self._drain_deadline_seconds = drain_deadline_seconds

    def take(self, action: Action, version: ServedVersion, loads: asyncio.TaskGroup) -> None:
        """Begin an action; loads go on in the task group."""
        match action:
            case Load() if version.state is VersionState.DRAINING:
                version.stop_timer()
                version.move(VersionState.READY)
            case Load():
                version.move(VersionState.LOADING)
                loads.create_task(self._settling(version, self._loading.bring_up(version)))
            case Measure():
                version.is_measuring = True
                loads.create_task(self._settling(version, self._loading.measure(version)))
            case Refuse():
                self._loading.fail(version, _too_large(action))
            case Defer():
                version.is_deferred = True
                version.move(VersionState.UNLOADED, "no memory was free: the next request for it loads it")
            case Evict():
                version.is_deferred = True
                self._drain(version, "was evicted for another version: the next request for it loads it")
            case Unload():
                self._drain(version, "not wanted any more")
        self._settled(version)

    def reload(self, version: ServedVersion, loads: asyncio.TaskGroup) -> None:
        """Load a READY version anew, while it goes on answering."""
        loads.create_task(self._settling(version, self._loading.reload(version)))

    def free_if_drained(self, version: ServedVersion) -> None:
        """Free a draining version that has no lease."""
        if version.num_leases == 0:
            self._free(version)

    async def _settling(self, version: ServedVersion, work: Coroutine[None, None, None]) -> None:
        await work
        self._settled(version)

    def _drain(self, version: ServedVersion, reason: str) -> None:
        """Grant no new lease; free the version after its last lease, or at the deadline."""
        version.move(VersionState.DRAINING, reason)
        version.drain_timer = asyncio.get_running_loop().call_later(
            self._drain_deadline_seconds, self._free_undrained, version
        )
        self.free_if_drained(version)

    def _free_undrained(self, version: ServedVersion) -> None:
        _log.warning("drain_deadline_passed", version=str(version.name), num_requests=version.num_leases)
        self._free(version)

    def _free(self, version: ServedVersion) -> None:
        version.stop_timer()
        version.resident = None
        version.move(VersionState.UNLOADED, version.reason)
        _log.info("version_unloaded", version=str(version.name), reason=version.reason)
        self._settled(version)


def _too_large(action: Refuse) -> OutOfDeviceMemory:
    return OutOfDeviceMemory(
        f"{action.name} takes {action.num_bytes} bytes, together with all that is pinned, and the budget is "
        f"{action.budget_bytes}: let MAAS_INFERENCE_MEMORY_BUDGET_MB be more"
    )
