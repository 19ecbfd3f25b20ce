"""The only holder of version state: loads and unloads one version at a time, and leases them to requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import aclosing
from itertools import chain

from inference_service.errors import DeadlineExceeded, LoadFailed, NotReady, NotServed
from inference_service.in_memory import InMemory
from inference_service.lease import Lease
from inference_service.loading import Loading
from inference_service.lookups import Lookups
from inference_service.policy import AwaitLeases, Memory, Standing, VersionState, next_action
from inference_service.served_model import ModelReport, ServedModel, explain
from inference_service.served_version import ServedVersion
from inference_service.steps import Steps
from inference_service.wanted import Found, Target, WantedModel
from inference_service.watchers import Watchers
from model_store.errors import IllegalState, NotFound
from model_store.names import ModelName, model_name


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
        self._memory = Memory(budget_bytes, self._in_memory.stages, self._held) if budget_bytes is not None else None
        self._lookups = Lookups(look_up, self._take_in) if look_up is not None else None
        self._models: dict[str, ServedModel] = {}
        self._unsettled: dict[str, ServedModel] = {}
        self._informed = False
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
            if wanted.versions or wanted.model_id in self._models:
                model = self._models.setdefault(wanted.model_id, ServedModel(wanted.model_id))
                model.want(wanted)
                self._changed(model)
        self._informed = True
        self._woken.set()

    def lease(self, target: Target) -> Lease:
        """Hold the version that answers to a name now; raise NotServed, NotReady or LoadFailed."""
        return Lease(self._ready(target) or self._model(target.model_id).find(target), self._lease_ended)

    async def lease_when_ready(self, target: Target, deadline: float | None = None) -> Lease:
        """Hold the version that answers to a name, once it is loaded where a request may bring it up.

        Any number of requests wait for one load, each until its own deadline, a time of the event loop's clock. Raises
        what `lease` raises, DeadlineExceeded, and with `look_up` what that raises.
        """
        version = self._ready(target)
        if version is None:
            version = await self._brought_up(target, deadline, waits=self._brings_up)
        return Lease(version, self._lease_ended)

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
        model = self._models.get(model_id)
        if model is not None:
            model.switch(is_off=False)
            self._changed(model)
        await self._brought_up(ModelName(model_id), None, waits=True)
        for name in tuple(self._model(model_id).wanted.versions):
            try:
                await self._brought_up(name, None, waits=True)
            except (LoadFailed, NotServed):  # the report says so; or it is not wanted any more
                continue

    async def unload_model(self, model_id: str) -> None:
        """Unload all of a model and load nothing of it until `load_model`; return when its memory is free.

        Raises NotServed, and IllegalState where a version of it is pinned.
        """
        model = self._model(model_id)
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
        return self._model(model_id).report()

    def model_ids(self) -> list[str]:
        """Return the ids of all models, in order."""
        return sorted(self._models)

    async def watch(self, model_id: str | None) -> AsyncGenerator[ModelReport]:
        """Yield the state of every model, or of one, and again whenever it changed, until `close_watches`.

        A model that is not here, not yet or no more, is reported without versions.
        """
        first = self.model_ids() if model_id is None else [model_id]
        async with aclosing(self._watchers.follow(model_id, first)) as changes:
            async for changed in changes:
                model = self._models.get(changed)
                yield model.report() if model is not None else ModelReport(changed)

    def close_watches(self) -> None:
        """End every watch: they would hold up the server's end."""
        self._watchers.close()

    async def run(self) -> None:
        """Act until cancelled: one step at a time, and the requests in between."""
        async with asyncio.TaskGroup() as loads:
            while True:
                self._woken.clear()
                while (action := next_action(self._unsettled_standings(), _now(), self._memory)) is not None:
                    self._is_short_of_room = isinstance(action, AwaitLeases)
                    if self._is_short_of_room:
                        break
                    model = self._models[action.name.model_id]
                    self._steps.take(action, model.versions[action.name], loads)
                    await asyncio.sleep(0)
                self._note_first_pass()
                await self._woken.wait()

    def _settle(self, version: ServedVersion) -> None:
        """Go on from where a version stands now."""
        self._in_memory.note(version)
        if version.state is VersionState.FAILED:
            asyncio.get_running_loop().call_at(version.retry_at, self._woken.set)
        if (model := self._models.get(version.name.model_id)) is not None:
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
        if (model := self._models.get(version.name.model_id)) is not None:
            self._note_standings(model)
        self._woken.set()

    def _sought(self, target: Target) -> ServedVersion | Target:
        """Return the version that should answer to a name, or the name that the registry has to be asked for."""
        model = self._models.get(target.model_id)
        if self._lookups is None or not self._informed:
            model = self._model(target.model_id)
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
        model = self._models.get(found.name.model_id)
        if model is None:
            model = self._models[found.name.model_id] = ServedModel(found.name.model_id)
            model.want(found.wanted)
        model.keep(found.name, found.manifest_digest)

    def _changed(self, model: ServedModel) -> None:
        """Let names follow the versions' states, tell the watchers, and look for the next step."""
        model.flip()
        if model.forget():
            self._models.pop(model.model_id, None)
        self._note_standings(model)
        self._watchers.tell(model.model_id)
        self._woken.set()

    @property
    def _brings_up(self) -> bool:
        """Whether a request may bring up what is not loaded: else everything that is wanted is, or fails."""
        return self._memory is not None or self._lookups is not None

    def _ready(self, target: Target) -> ServedVersion | None:
        model = self._models.get(target.model_id)
        return None if model is None else model.ready(target)

    def _model(self, model_id: str) -> ServedModel:
        model = self._models.get(model_id)
        if model is not None:
            return model
        if not self._informed:
            raise NotReady("the service is starting and has not read the registry yet: try again in a moment")
        raise NotServed(f"{model_name(model_id)} is not served here; `maas models` lists what there is")

    def _note_standings(self, model: ServedModel) -> None:
        """Keep apart the models that a step may be due for: with thousands, all would take long to look at."""
        if model.describe() or model.model_id not in self._models:
            self._unsettled.pop(model.model_id, None)
        else:
            self._unsettled[model.model_id] = model

    def _unsettled_standings(self) -> Iterator[Standing]:
        return chain.from_iterable(model.standings() for model in self._unsettled.values())

    def _held(self) -> Iterator[Standing]:
        return chain.from_iterable(model.held_standings() for model in self._models.values())

    def _note_first_pass(self) -> None:
        untried = {VersionState.PENDING, VersionState.LOADING}
        if self._informed and not any(each.state in untried for each in self._unsettled_standings()):
            self.first_pass.set()


def _now() -> float:
    return asyncio.get_running_loop().time()
