"""The only holder of version state: loads and unloads one version at a time, and leases them to requests."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from dataclasses import replace
from functools import partial

import structlog

from inference_service.desired.desired_versions import Found, Target, WantedModel
from inference_service.desired.registry_lookups import Lookups
from inference_service.errors import DeadlineExceeded, LoadFailed, NotReady, NotServed, Stopping
from inference_service.lifecycle.lease import Lease, Shadow
from inference_service.lifecycle.load_tasks import Loading
from inference_service.lifecycle.policy import Action, AwaitLeases, Memory, VersionState, next_action
from inference_service.lifecycle.readiness import Readiness
from inference_service.lifecycle.served_model import ModelReport, ServedModel, explain
from inference_service.lifecycle.served_models import ServedModels
from inference_service.lifecycle.served_version import ServedVersion
from inference_service.lifecycle.stage_refs import InMemory
from inference_service.lifecycle.transitions import Transitions
from inference_service.lifecycle.watchers import Watchers
from model_store.errors import IllegalState, NotFound, StoreError
from model_store.names import ModelName, VersionName

_log = structlog.get_logger()
# Of thousands of models no more are taken over at once than this takes: requests go in between.
_SLICE_SECONDS = 0.005


class Manager:
    """Keeps what is loaded equal to what is wanted; use it on the event loop only.

    A request holds a lease on a version while it needs it: a version that is unloaded takes no new lease, and is freed
    when the last one ends or the drain deadline passes. After that deadline the requests that are left still end well:
    what they hold stays in memory until they let go.

    A request for a version that is being loaded, or waits for that, waits with it. With a budget, what does not fit is
    evicted or rests, and is brought up when it is asked for; with `look_up`, so is any other version in the registry.
    """

    def __init__(
        self,
        loading: Loading,
        *,
        drain_deadline_seconds: float,
        budget_bytes: int | None = None,
        look_up: Callable[[Target], Found] | None = None,
    ) -> None:
        self._transitions = Transitions(loading, self._settle, drain_deadline_seconds=drain_deadline_seconds)
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
        self._updates: deque[WantedModel] = deque()
        self._informed = asyncio.Event()
        self._has_ended = False
        self.readiness = Readiness(self._models)

    def update(self, models: Iterable[WantedModel]) -> None:
        """Take over what should be loaded of these models; the first call names all there are.

        Of many models the rest follows in the next turns of the event loop, in order.
        """
        self._updates.extend(models)
        self._take_over_some()
        self._woken.set()

    def _take_over_some(self) -> None:
        until = time.monotonic() + _SLICE_SECONDS
        while self._updates and time.monotonic() < until:
            self._take_over(self._updates.popleft())
        if not self._updates and not self._models.is_informed:
            self._models.is_informed = True
            self._informed.set()

    def _take_over(self, wanted: WantedModel) -> None:
        if self._lookups is not None:
            self._lookups.note_change(wanted.model_id)
        if wanted.versions or wanted.model_id in self._models.by_id:
            model = self._models.add(wanted.model_id)
            model.want(wanted)
            if not self._models.is_informed:
                self.readiness.expect(model)
            self._changed(model)

    def lease(self, target: Target) -> Lease:
        """Hold the version that answers to a name now; raise NotServed, NotReady or LoadFailed."""
        model = self._models.known(target.model_id)
        return Lease(model.ready(target) or model.find(target), self._lease_ended)

    async def lease_when_ready(
        self, target: Target, deadline: float | None = None, routing_key: str | None = None
    ) -> Lease:
        """Hold the version that answers to a name, once it is loaded: where it is to be, or a request may bring it up.

        Any number of requests wait for one load, each until its own deadline, a time of time.monotonic. Where
        an alias gives other versions a share, the key decides which one answers, chance with an empty key, and without
        one the main version does. Raises what `lease` raises, DeadlineExceeded, and with `look_up` what that raises.
        """
        model = self._models.by_id.get(target.model_id)
        version = None if model is None else model.ready(target)
        if model is not None and model.splits and routing_key is not None:
            return await self._lease_share(model, target, deadline, routing_key)
        if version is None:
            version = await self._brought_up(target, deadline, brings_up=self._brings_up)
        return Lease(version, self._lease_ended)

    async def _lease_share(self, model: ServedModel, target: Target, deadline: float | None, routing_key: str) -> Lease:
        """Hold the canary that the key is dealt, where it is READY, else the main version, and maybe its shadow."""
        split = model.split(target)
        number = None if split is None else split.canary(routing_key)
        if number is not None:
            name = VersionName(model.model_id, number)
            if (canary := model.ready(name)) is not None:
                return Lease(canary, self._lease_ended)
            self._call(name)
        version = model.ready(target) or await self._brought_up(target, deadline, brings_up=self._brings_up)
        if split is None or version.name.number != split.main or (number := split.shadow()) is None:
            return Lease(version, self._lease_ended)
        shadow = partial(self._lease_shadow, VersionName(model.model_id, number))
        return Lease(version, self._lease_ended, Shadow(shadow, split.counts))

    def _lease_shadow(self, name: VersionName) -> Lease | None:
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
            await self._brought_up(name, None, brings_up=True)
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
        await self._brought_up(ModelName(model_id), None, brings_up=True)
        for name in tuple(self._models.known(model_id).wanted.versions):
            try:
                await self._brought_up(name, None, brings_up=True)
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
            await self._moved(held[0])

    def report(self, model_id: str) -> ModelReport:
        """Describe one model; raise NotServed where it is neither loaded nor wanted."""
        return self._report(self._models.known(model_id))

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
                yield self._report(model) if model is not None else ModelReport(changed)

    def close_watches(self) -> None:
        """End every watch: they would hold up the server's end."""
        self._watchers.close()

    async def run(self) -> None:
        """Act until cancelled: one step at a time, and the requests in between.

        Raises DeviceFailed where a load finds that the device can run nothing any more. However it ends, whoever waits
        for a version is told so.
        """
        try:
            async with asyncio.TaskGroup() as loads:
                while True:
                    self._woken.clear()
                    await self._take_over_all()
                    if self._models.is_informed:
                        await self._act(loads)
                        self.readiness.check()
                    await self._woken.wait()
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from group
        finally:
            self._has_ended = True
            self._informed.set()
            for model in self._models.by_id.values():
                for version in model.versions.values():
                    version.moved.set()

    async def _take_over_all(self) -> None:
        while self._updates:
            self._take_over_some()
            await asyncio.sleep(0)

    async def _act(self, loads: asyncio.TaskGroup) -> None:
        """Take every step that is due."""
        self._is_short_of_room = False
        while not self._updates and (action := self._next_action()) is not None:
            self._is_short_of_room = isinstance(action, AwaitLeases)
            if self._is_short_of_room:
                return
            model = self._models.by_id[action.name.model_id]
            self._transitions.take(action, model.versions[action.name], loads)
            await asyncio.sleep(0)

    def _next_action(self) -> Action | None:
        now = time.monotonic()
        return next_action(self._models.agenda.due(now), now, self._memory)

    def _settle(self, version: ServedVersion) -> None:
        """Go on from where a version stands now."""
        self._in_memory.note(version)
        if (model := self._models.by_id.get(version.name.model_id)) is not None:
            self._changed(model)
        if version.state is VersionState.FAILED:
            self._retry(version)

    def _retry(self, version: ServedVersion) -> None:
        """Look for the next step once a version may be tried again: not before, as an event loop's timer may end."""
        seconds_left = version.retry_at - time.monotonic()
        if seconds_left > 0:
            asyncio.get_running_loop().call_later(seconds_left, self._retry, version)
        else:
            self._woken.set()

    def _lease_ended(self, version: ServedVersion) -> None:
        """Free a version that was waiting for this, or let another have its room."""
        if version.state is VersionState.DRAINING:
            self._transitions.free_if_drained(version)
        elif self._is_short_of_room:
            self._woken.set()

    async def _brought_up(self, target: Target, deadline: float | None, *, brings_up: bool) -> ServedVersion:
        """Return the version that should answer to a name once it is READY.

        One that is to be loaded is waited for; any other one must be READY, unless the request `brings_up` what is not.
        """
        try:
            async with asyncio.timeout(None if deadline is None else deadline - time.monotonic()):
                if deadline is not None:
                    await self._informed.wait()
                while True:
                    sought = self._sought(target)
                    if not isinstance(sought, ServedVersion):
                        await self._found(sought)
                    elif sought.state is VersionState.READY:
                        return sought
                    elif sought.state in _LOADING or (brings_up and not _has_failed(sought)):
                        await self._next_move(sought)
                    else:
                        explain(sought)
        except TimeoutError as error:
            raise DeadlineExceeded(f"{target} was not loaded by the deadline: wait longer, or try again") from error

    async def _next_move(self, version: ServedVersion) -> None:
        """Ask for a version, and wait until it leaves the state that it is in."""
        try:
            with version.asked_for():
                self._note_asked(version)
                await self._moved(version)
        finally:
            self._note_asked(version)

    async def _moved(self, version: ServedVersion) -> None:
        """Wait until a version leaves the state that it is in; raise Stopping where it never will."""
        if not self._has_ended:
            await version.moved.wait()
        if self._has_ended:
            raise Stopping("the service is stopping: try again in a moment, or at another one")

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
        self.readiness.note(model)
        self._watchers.tell(model.model_id)
        self._woken.set()

    def _report(self, model: ServedModel) -> ModelReport:
        return replace(model.report(), obstacle=self.readiness.obstacle(model))

    @property
    def _brings_up(self) -> bool:
        """Whether a request may bring up what is not loaded: else everything that is wanted is, or fails."""
        return self._memory is not None or self._lookups is not None


# A wanted version leaves these by itself.
_LOADING = frozenset({VersionState.PENDING, VersionState.LOADING})


def _has_failed(version: ServedVersion) -> bool:
    """Say whether a version could not be loaded, and is not due to be tried again."""
    return version.state is VersionState.FAILED and version.retry_at > time.monotonic()
