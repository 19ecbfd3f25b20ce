"""The only holder of version state: loads and unloads one version at a time, and leases them to requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from functools import partial

import structlog

from inference_service.errors import DeadlineExceeded, LoadFailed, NotReady, NotServed
from inference_service.in_memory import InMemory
from inference_service.lease import Lease, Shadow
from inference_service.loading import Loading
from inference_service.lookups import Lookups
from inference_service.policy import AwaitLeases, Memory, VersionState, next_action
from inference_service.served_model import ModelReport, ServedModel, explain
from inference_service.served_models import ServedModels
from inference_service.served_version import ServedVersion
from inference_service.steps import Steps
from inference_service.wanted import Found, Target, WantedModel
from inference_service.watchers import Watchers
from model_store.errors import IllegalState, NotFound, StoreError
from model_store.names import ModelName, VersionName

_log = structlog.get_logger()


class Manager:
    """Keeps what is loaded equal to what is wanted; use it on the event loop only.

    A request holds a lease on a version while it needs it: a version that is unloaded takes no new lease, and is freed
    when the last one ends or the drain deadline passes. After that deadline the requests that are left still end well:
    what they hold stays in memory until they let go.

    With a budget, what does not fit is evicted or rests, and is brought up when it is asked for; with `look_up`, so is
    any other version in the registry.
    """

    def __init__(
        self,
        loading: Loading,
        *,
        drain_deadline_seconds: float,
        budget_bytes: int | None = None,
        look_up: Callable[[Target], Found] | None = None,
    ) -> None:
        self._steps = Steps(loading, self._settle, drain_deadline_seconds=drain_deadline_seconds)
        self._in_memory = InMemory()
        self._models = ServedModels()
        self._memory = None
        if budget_bytes is not None:
            self._memory = Memory(budget_bytes, self._in_memory.stages, self._models.held)
        self._lookups = Lookups(look_up, self._take_in) if look_up is not None else None
        self._called: dict[VersionName, asyncio.Task[None]] = {}
        self._is_short_of_room = False
        self._woken = asyncio.Event()
        self._watchers = Watchers()
        self.first_pass = asyncio.Event()
        """Set once everything wanted at the start is loaded, failed to, or found no room."""

    def update(self, models: Iterable[WantedModel]) -> None:
        """Take over what should be loaded of these models; the first call names all there are."""
        for wanted in models:
            if self._lookups is not None:
                self._lookups.note_change(wanted.model_id)
            if wanted.versions or wanted.model_id in self._models.by_id:
                model = self._models.add(wanted.model_id)
                model.want(wanted)
                self._changed(model)
        self._models.is_informed = True
        self._woken.set()

    def lease(self, target: Target) -> Lease:
        """Hold the version that answers to a name now; raise NotServed, NotReady or LoadFailed."""
        model = self._models.known(target.model_id)
        return Lease(model.ready(target) or model.find(target), self._lease_ended)

    async def lease_when_ready(
        self, target: Target, deadline: float | None = None, routing_key: str | None = None
    ) -> Lease:
        """Hold the version that answers to a name, once it is loaded where a request may bring it up.

        Any number of requests wait for one load, each until its own deadline, a time of the event loop's clock. Where
        an alias gives other versions a share, the key decides which one answers, chance with an empty key, and without
        one the main version does. Raises what `lease` raises, DeadlineExceeded, and with `look_up` what that raises.
        """
        model = self._models.by_id.get(target.model_id)
        version = None if model is None else model.ready(target)
        if model is not None and model.splits and routing_key is not None:
            return await self._lease_share(model, target, deadline, routing_key)
        if version is None:
            version = await self._brought_up(target, deadline, waits=self._brings_up)
        return Lease(version, self._lease_ended)

    async def _lease_share(self, model: ServedModel, target: Target, deadline: float | None, routing_key: str) -> Lease:
        """Hold the canary that the key is dealt, where it is READY, else the main version, and maybe its mirror."""
        split = model.split(target)
        number = None if split is None else split.canary(routing_key)
        if number is not None:
            name = VersionName(model.model_id, number)
            if (canary := model.ready(name)) is not None:
                return Lease(canary, self._lease_ended)
            self._call(name)
        version = model.ready(target) or await self._brought_up(target, deadline, waits=self._brings_up)
        if split is None or version.name.number != split.main or (number := split.mirror()) is None:
            return Lease(version, self._lease_ended)
        mirror = partial(self._lease_mirror, VersionName(model.model_id, number))
        return Lease(version, self._lease_ended, Shadow(mirror, split.counts))

    def _lease_mirror(self, name: VersionName) -> Lease | None:
        """Hold a version where it is READY; it is never brought up for this, as that could cost another its room."""
        model = self._models.by_id.get(name.model_id)
        version = None if model is None else model.ready(name)
        return None if version is None else Lease(version, self._lease_ended)

    def _call(self, name: VersionName) -> None:
        """Bring a canary up for the next request that it is dealt, where requests may do that."""
        version = self._models.known(name.model_id).versions.get(name)
        may_load = version is None or version.state is VersionState.UNLOADED
        if self._brings_up and may_load and name not in self._called:
            self._called[name] = asyncio.create_task(self._bring_up(name))

    async def _bring_up(self, name: VersionName) -> None:
        try:
            await self._brought_up(name, None, waits=True)
        except StoreError as error:
            _log.info("canary_not_loaded", version=str(name), reason=str(error))
        finally:
            del self._called[name]

    async def would_answer(self, target: Target) -> bool:
        """Say whether a request for this name would be answered: at once, or after a load that begins with it."""
        try:
            sought = self._sought(target)
            if not isinstance(sought, ServedVersion):
                return await self._found(sought)
        except (NotReady, NotFound, IllegalState):
            return False
        return sought.state is VersionState.READY or (self._brings_up and sought.state is VersionState.UNLOADED)

    async def load_model(self, model_id: str) -> None:
        """Load what is wanted of a model now, and return when it answers; raise NotServed, NotReady or LoadFailed."""
        model = self._models.by_id.get(model_id)
        if model is not None:
            model.switch(is_off=False)
            self._changed(model)
        await self._brought_up(ModelName(model_id), None, waits=True)
        for name in tuple(self._models.known(model_id).wanted.versions):
            try:
                await self._brought_up(name, None, waits=True)
            except (LoadFailed, NotServed):  # the report says so; or it is not wanted any more
                continue

    async def unload_model(self, model_id: str) -> None:
        """Unload all of a model and load nothing of it until `load_model`; return when its memory is free.

        Raises NotServed, and IllegalState where a version of it is pinned.
        """
        model = self._models.known(model_id)
        if pinned := sorted(each.name for each in model.versions.values() if each.is_pinned):
            raise IllegalState(
                f"{pinned[0]} is pinned (MAAS_INFERENCE_PINNED): it is not unloaded while the service runs"
            )
        model.switch(is_off=True)
        self._changed(model)
        while model.is_off and (held := model.held()):
            await held[0].moved.wait()

    def report(self, model_id: str) -> ModelReport:
        """Describe one model; raise NotServed where it is neither loaded nor wanted."""
        return self._models.known(model_id).report()

    def model_ids(self) -> list[str]:
        """Return the ids of all models, in order."""
        return sorted(self._models.by_id)

    async def watch(self, model_id: str | None) -> AsyncGenerator[ModelReport]:
        """Yield the state of every model, or of one, and again whenever it changed, until `close_watches`.

        A model that is not here, not yet or no more, is reported without versions.
        """
        first = self.model_ids() if model_id is None else [model_id]
        async with aclosing(self._watchers.follow(model_id, first)) as changes:
            async for changed in changes:
                model = self._models.by_id.get(changed)
                yield model.report() if model is not None else ModelReport(changed)

    def close_watches(self) -> None:
        """End every watch: they would hold up the server's end."""
        self._watchers.close()

    async def run(self) -> None:
        """Act until cancelled: one step at a time, and the requests in between."""
        async with asyncio.TaskGroup() as loads:
            while True:
                self._woken.clear()
                self._is_short_of_room = False
                while (action := next_action(self._models.unsettled(), _now(), self._memory)) is not None:
                    self._is_short_of_room = isinstance(action, AwaitLeases)
                    if self._is_short_of_room:
                        break
                    model = self._models.by_id[action.name.model_id]
                    self._steps.take(action, model.versions[action.name], loads)
                    await asyncio.sleep(0)
                self._note_first_pass()
                await self._woken.wait()

    def _settle(self, version: ServedVersion) -> None:
        """Go on from where a version stands now."""
        self._in_memory.note(version)
        if version.state is VersionState.FAILED:
            asyncio.get_running_loop().call_at(version.retry_at, self._woken.set)
        if (model := self._models.by_id.get(version.name.model_id)) is not None:
            self._changed(model)

    def _lease_ended(self, version: ServedVersion) -> None:
        """Free a version that was waiting for this, or let another have its room."""
        if version.state is VersionState.DRAINING:
            self._steps.free_if_drained(version)
        elif self._is_short_of_room:
            self._woken.set()

    async def _brought_up(self, target: Target, deadline: float | None, *, waits: bool) -> ServedVersion:
        """Return the version that should answer to a name once it is READY; where nobody `waits`, it must be now."""
        try:
            async with asyncio.timeout_at(deadline):
                while True:
                    sought = self._sought(target)
                    if not isinstance(sought, ServedVersion):
                        await self._found(sought)
                    elif sought.state is VersionState.READY:
                        return sought
                    elif not waits or (sought.state is VersionState.FAILED and sought.retry_at > _now()):
                        explain(sought)
                    else:
                        await self._next_move(sought)
        except TimeoutError as error:
            raise DeadlineExceeded(f"{target} was not loaded by the deadline: wait longer, or try again") from error

    async def _next_move(self, version: ServedVersion) -> None:
        """Ask for a version, and wait until it leaves the state that it is in."""
        try:
            with version.asked_for():
                self._note_asked(version)
                await version.moved.wait()
        finally:
            self._note_asked(version)

    def _note_asked(self, version: ServedVersion) -> None:
        if (model := self._models.by_id.get(version.name.model_id)) is not None:
            self._models.note(model)
        self._woken.set()

    def _sought(self, target: Target) -> ServedVersion | Target:
        """Return the version that should answer to a name, or the name that the registry has to be asked for."""
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

    async def _found(self, target: Target) -> bool:
        """Take in what the registry has of this name; raise what `look_up` raises."""
        if self._lookups is None:
            raise RuntimeError(f"nothing looks {target} up")
        await self._lookups.find(target)
        return True

    def _take_in(self, found: Found) -> None:
        is_new = found.name.model_id not in self._models.by_id
        model = self._models.add(found.name.model_id)
        if is_new:
            model.want(found.wanted)
        model.keep(found.name, found.manifest_digest)

    def _changed(self, model: ServedModel) -> None:
        """Let names follow the versions' states, tell the watchers, and look for the next step."""
        self._models.settle(model)
        self._watchers.tell(model.model_id)
        self._woken.set()

    @property
    def _brings_up(self) -> bool:
        """Whether a request may bring up what is not loaded: else everything that is wanted is, or fails."""
        return self._memory is not None or self._lookups is not None

    def _note_first_pass(self) -> None:
        untried = {VersionState.PENDING, VersionState.LOADING}
        if self._models.is_informed and not any(each.state in untried for each in self._models.unsettled()):
            self.first_pass.set()


def _now() -> float:
    return asyncio.get_running_loop().time()
