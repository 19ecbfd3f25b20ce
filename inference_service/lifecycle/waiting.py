"""How a request waits for a version that is not READY: until it is loaded, or on demand loads it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from inference_service.desired.desired_versions import Found, Target
from inference_service.desired.registry_lookups import Lookups
from inference_service.errors import DeadlineExceeded, NotReady, Stopping
from inference_service.lifecycle.policy import VersionState
from inference_service.lifecycle.served_model import explain
from inference_service.lifecycle.served_models import ServedModels
from inference_service.lifecycle.served_version import ServedVersion
from model_store.errors import IllegalState, NotFound

# A desired version leaves these states without a request.
_LOADING = frozenset({VersionState.PENDING, VersionState.LOADING})


class Waiting:
    """Lets any number of requests wait for one load, each until its own deadline; use it on the event loop only.

    `changed` is called after a change of the versions that requests wait for. With `look_up`, an unknown name is looked
    up in the registry. With `loads_on_demand`, a request loads a version that is not loaded.
    """

    def __init__(
        self,
        models: ServedModels,
        changed: Callable[[], object],
        *,
        has_budget: bool,
        look_up: Callable[[Target], Found] | None,
    ) -> None:
        self._models = models
        self._changed = changed
        self._lookups = Lookups(look_up, models.add_found) if look_up is not None else None
        self.loads_on_demand = has_budget or look_up is not None
        self._informed = asyncio.Event()
        self._has_ended = False

    def note_change(self, model_id: str) -> None:
        """Forget the lookups of a model after a change in the registry."""
        if self._lookups is not None:
            self._lookups.note_change(model_id)

    def note_informed(self) -> None:
        """Note that the registry was read for the first time."""
        self._informed.set()

    def end(self) -> None:
        """Make every request that waits, now or later, fail with Stopping."""
        self._has_ended = True
        self._informed.set()
        for model in self._models.by_id.values():
            for version in model.versions.values():
                version.moved.set()

    async def ready(
        self, target: Target, deadline: float | None = None, *, loads_on_demand: bool | None = None
    ) -> ServedVersion:
        """Return the version that should answer to a name once it is READY.

        A version that is being loaded is waited for. Any other must be READY, unless the request loads it on demand.
        """
        on_demand = self.loads_on_demand if loads_on_demand is None else loads_on_demand
        try:
            async with asyncio.timeout(None if deadline is None else deadline - time.monotonic()):
                if deadline is not None:
                    await self._informed.wait()
                return await self._ready(target, on_demand=on_demand)
        except TimeoutError as error:
            raise DeadlineExceeded(f"{target} was not loaded by the deadline: wait longer, or try again") from error

    async def left(self, version: ServedVersion) -> None:
        """Wait until a version leaves its state; raise Stopping where the service ends first."""
        if not self._has_ended:
            await version.moved.wait()
        if self._has_ended:
            raise Stopping("the service is stopping: try again in a moment, or at another one")

    async def would_answer(self, target: Target) -> bool:
        """Say whether a request for this name would be answered: at once, or after a load on demand."""
        try:
            found = self._version_of(target)
            if not isinstance(found, ServedVersion):
                await self._look_up(found)
                return True
        except (NotReady, NotFound, IllegalState):
            return False
        return found.state is VersionState.READY or (self.loads_on_demand and found.state is VersionState.UNLOADED)

    async def _ready(self, target: Target, *, on_demand: bool) -> ServedVersion:
        while True:
            found = self._version_of(target)
            if not isinstance(found, ServedVersion):
                await self._look_up(found)
            elif found.state is VersionState.READY:
                return found
            elif found.state in _LOADING or (on_demand and not _waits_for_retry(found)):
                await self._requested(found)
            else:
                explain(found)

    async def _requested(self, version: ServedVersion) -> None:
        """Request a version, and wait until it leaves its state."""
        try:
            with version.requested():
                self._note_requests(version)
                await self.left(version)
        finally:
            self._note_requests(version)

    def _note_requests(self, version: ServedVersion) -> None:
        if (model := self._models.by_id.get(version.name.model_id)) is not None:
            self._models.note(model)
        self._changed()

    def _version_of(self, target: Target) -> ServedVersion | Target:
        """Return the version that should answer to a name, or the name to look up in the registry."""
        model = self._models.by_id.get(target.model_id)
        if self._lookups is None or not self._models.is_informed:
            model = self._models.known(target.model_id)
        if model is None:
            return target
        name = model.meant(target)
        version = model.versions.get(name)
        if version is not None and model.serves(version):
            return version
        return model.find(target) if self._lookups is None else name

    async def _look_up(self, target: Target) -> None:
        """Add the version that the registry has under this name; raise the errors of `look_up`."""
        if self._lookups is None:
            raise RuntimeError(f"nothing looks {target} up")
        await self._lookups.find(target)


def _waits_for_retry(version: ServedVersion) -> bool:
    """Say whether a version could not be loaded, and its next retry is not due."""
    return version.state is VersionState.FAILED and version.retry_at > time.monotonic()
