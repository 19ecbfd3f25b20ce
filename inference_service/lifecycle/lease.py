"""Leases: how a request holds the version that answers it, and which version an alias' traffic split chooses."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import structlog

from inference_service.desired.desired_versions import Target
from inference_service.lifecycle.policy import VersionState
from inference_service.lifecycle.served_model import ServedModel
from inference_service.lifecycle.served_models import ServedModels
from inference_service.lifecycle.served_version import ServedVersion
from inference_service.lifecycle.traffic import ShadowCounts
from inference_service.lifecycle.waiting import Waiting
from inference_service.models.resident import ResidentVersion
from model_store.errors import StoreError
from model_store.names import VersionName

_log = structlog.get_logger()


class Lease:
    """Holds a READY version within a `with` block; enter it before the event loop runs anything else.

    A class and not a generator, because every request enters one.
    """

    __slots__ = ("_ended", "_version", "shadow")

    def __init__(
        self, version: ServedVersion, ended: Callable[[ServedVersion], object], shadow: Shadow | None = None
    ) -> None:
        """Call `ended` when the version's last lease ends; `shadow` is set where the request has a shadow too."""
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
    """The shadow of a request: `lease` holds the shadow version, or returns None where that one is not READY."""

    lease: Callable[[], Lease | None]
    counts: ShadowCounts


class Leases:
    """Grants leases to requests; use it on the event loop only."""

    def __init__(self, models: ServedModels, waiting: Waiting, ended: Callable[[ServedVersion], object]) -> None:
        self._models = models
        self._waiting = waiting
        self._ended = ended
        self._loading_canaries: dict[VersionName, asyncio.Task[None]] = {}

    def now(self, target: Target) -> Lease:
        """Hold the version that answers to a name now; raise NotServed, NotReady or LoadFailed."""
        model = self._models.known(target.model_id)
        return Lease(model.ready(target) or model.find(target), self._ended)

    async def when_ready(self, target: Target, deadline: float | None, routing_key: str | None) -> Lease:
        """Hold the version that answers to a name once it is READY; see Manager.lease_when_ready."""
        model = self._models.by_id.get(target.model_id)
        version = None if model is None else model.ready(target)
        if model is not None and model.splits and routing_key is not None:
            return await self._split(model, target, deadline, routing_key)
        if version is None:
            version = await self._waiting.ready(target, deadline)
        return Lease(version, self._ended)

    async def _split(self, model: ServedModel, target: Target, deadline: float | None, routing_key: str) -> Lease:
        """Lease the key's canary if it is READY, else the main version, with the shadow of the request, if any."""
        split = model.split(target)
        number = None if split is None else split.canary(routing_key)
        if number is not None:
            name = VersionName(model.model_id, number)
            if (canary := model.ready(name)) is not None:
                return Lease(canary, self._ended)
            self._load_canary(name)
        version = model.ready(target) or await self._waiting.ready(target, deadline)
        if split is None or version.name.number != split.main or (number := split.shadow()) is None:
            return Lease(version, self._ended)
        shadow = partial(self._shadow, VersionName(model.model_id, number))
        return Lease(version, self._ended, Shadow(shadow, split.counts))

    def _shadow(self, name: VersionName) -> Lease | None:
        """Lease a version if it is READY. A shadow never loads a version, which could evict another one."""
        model = self._models.by_id.get(name.model_id)
        version = None if model is None else model.ready(name)
        return None if version is None else Lease(version, self._ended)

    def _load_canary(self, name: VersionName) -> None:
        """Load a canary for later requests, where requests may load versions; this request does not wait for it."""
        version = self._models.known(name.model_id).versions.get(name)
        may_load = version is None or version.state is VersionState.UNLOADED
        if self._waiting.loads_on_demand and may_load and name not in self._loading_canaries:
            self._loading_canaries[name] = asyncio.create_task(self._loaded(name))

    async def _loaded(self, name: VersionName) -> None:
        try:
            await self._waiting.ready(name, None)
        except StoreError as error:
            _log.info("canary_not_loaded", version=str(name), reason=str(error))
        finally:
            del self._loading_canaries[name]
