"""Loads one version in the loader thread, and records the result."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Executor
from dataclasses import replace
from typing import TypeVar

import structlog

from inference_service.backoff import Backoff
from inference_service.errors import DeviceFailed
from inference_service.lifecycle.policy import VersionState
from inference_service.lifecycle.served_version import ServedVersion
from inference_service.models.resident import ResidentVersion
from model_store.errors import StoreError
from model_store.names import VersionName

_log = structlog.get_logger()

T = TypeVar("T")


class Loading:
    """Runs `load` and `measure` in `loader_thread`; use it on the event loop only.

    `measure` returns the bytes of each stage of a version. A failed load is retried with backoff.
    """

    def __init__(
        self,
        load: Callable[[VersionName, str], ResidentVersion],
        measure: Callable[[VersionName, str], Mapping[Hashable, int]],
        loader_thread: Executor,
        backoff: Backoff,
    ) -> None:
        self._load = load
        self._measure = measure
        self._loader_thread = loader_thread
        self._backoff = backoff

    async def bring_up(self, version: ServedVersion) -> None:
        """Load a version, which is READY or FAILED afterwards; raise DeviceFailed where the device has failed."""
        started = time.monotonic()
        resident = await self._done(version, self._load, version.name, version.manifest_digest)
        if resident is None:
            return
        version.resident, version.num_failures, version.is_deferred = resident, 0, False
        version.stages = {stage.identity: stage.size_bytes for stage in resident.stages}
        version.ready_at = time.monotonic()
        version.load_seconds = version.ready_at - started
        version.move(VersionState.READY)
        _log.info(
            "version_ready", version=str(version.name), load_seconds=round(version.load_seconds, 3), **_how(resident)
        )

    async def reload(self, version: ServedVersion) -> None:
        """Let a READY version be what a load makes of it now; where that fails it goes on as it is."""
        if (before := version.resident) is None or version.state is not VersionState.READY:
            return
        running = self._submit(self._load, version.name, version.manifest_digest)
        await asyncio.wait([running])
        if (error := running.exception()) is not None:
            _log.error("reload_failed", version=str(version.name), reason=_reason(error), exc_info=error)
            if isinstance(error, DeviceFailed):
                raise error
        elif version.resident is before:  # it may have been unloaded meanwhile
            version.resident = replace(running.result(), statistics=before.statistics)
            version.stages = {stage.identity: stage.size_bytes for stage in version.resident.stages}
            _log.info("version_reloaded", version=str(version.name), **_how(version.resident))

    async def measure(self, version: ServedVersion) -> None:
        """Measure the stages of a version; it is FAILED where they cannot be read."""
        version.is_measuring = True
        version.stages = await self._done(version, self._measure, version.name, version.manifest_digest)
        version.is_measuring = False

    def fail(self, version: ServedVersion, error: BaseException) -> None:
        """Record why a version could not be loaded, and when the retry is due."""
        version.num_failures += 1
        delay = self._backoff.seconds(version.num_failures)
        version.retry_at = time.monotonic() + delay
        version.last_failure = _reason(error)
        version.move(VersionState.FAILED, version.last_failure)
        reason, unexpected = (error.in_full, None) if isinstance(error, StoreError) else (str(error), error)
        _log.error("load_failed", version=str(version.name), reason=reason, retry_seconds=delay, exc_info=unexpected)

    async def _done(self, version: ServedVersion, work: Callable[..., T], *arguments: object) -> T | None:
        """Return the result of work in the loader thread, or record its failure and return None."""
        running = self._submit(work, *arguments)
        await asyncio.wait([running])  # unlike `await running`, this does not raise the error of the task
        error = running.exception()
        if error is None:
            return running.result()
        self.fail(version, error)
        if isinstance(error, DeviceFailed):
            raise error
        return None

    def _submit(self, work: Callable[..., T], *arguments: object) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._loader_thread, work, *arguments)


def _how(resident: ResidentVersion) -> dict[str, str]:
    return {"precision": resident.precision, "backend": resident.backend}


def _reason(error: BaseException) -> str:
    """Return the text that callers may see: of a StoreError its message, of any other error its type alone."""
    if isinstance(error, StoreError):
        return str(error)
    return f"internal error ({type(error).__name__}): the service's log has the rest"
