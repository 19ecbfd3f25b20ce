"""The only holder of version state: loads and unloads one version at a time, and leases versions to requests."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from inference_service.desired.desired_versions import Found, Target, WantedModel
from inference_service.errors import LoadFailed, NotServed
from inference_service.lifecycle.lease import Lease, Leases
from inference_service.lifecycle.load_tasks import Loading
from inference_service.lifecycle.policy import Action, AwaitLeases, Memory, VersionState, next_action
from inference_service.lifecycle.readiness import Readiness, obstacle
from inference_service.lifecycle.served_model import ModelReport, ServedModel
from inference_service.lifecycle.served_models import ServedModels
from inference_service.lifecycle.served_version import ServedVersion
from inference_service.lifecycle.stage_refs import InMemory
from inference_service.lifecycle.transitions import Transitions
from inference_service.lifecycle.waiting import Waiting
from inference_service.lifecycle.watchers import Watchers
from model_store.errors import IllegalState
from model_store.names import ModelName, VersionName

# The time that one slice of an update may take: requests run between slices of thousands of models.
_SLICE_SECONDS = 0.005


class Manager:
    """Keeps the loaded versions equal to the desired ones; use it on the event loop only.

    A request holds a lease on a version while it needs it. A version that is unloaded grants no new lease, and is freed
    when the last lease ends or the drain deadline passes. Requests that still run after that deadline are answered:
    the tensors that they hold stay in memory until they end.

    A request for a version that is loading, or pending, waits with it. With a budget, a version that does not fit is
    evicted or deferred, and a request loads it on demand. With `look_up`, so is any other version in the registry.
    """

    def __init__(
        self,
        loading: Loading,
        *,
        drain_deadline_seconds: float,
        budget_bytes: int | None = None,
        look_up: Callable[[Target], Found] | None = None,
    ) -> None:
        self._woken = asyncio.Event()
        self._transitions = Transitions(loading, self._settle, drain_deadline_seconds=drain_deadline_seconds)
        self._in_memory = InMemory()
        self._models = ServedModels()
        self._memory = None
        if budget_bytes is not None:
            self._memory = Memory(budget_bytes, self._in_memory.stages, self._models.held)
        self._waiting = Waiting(self._models, self._woken.set, has_budget=budget_bytes is not None, look_up=look_up)
        self._leases = Leases(self._models, self._waiting, self._lease_ended)
        self._is_short_of_room = False
        self._watchers = Watchers()
        self._updates: deque[WantedModel] = deque()
        self._reloads: deque[VersionName] = deque()
        self.readiness = Readiness(self._models)

    def update(self, models: Iterable[WantedModel]) -> None:
        """Take over the desired versions of these models; the first call names every model.

        Of many models, the rest follows in the next slices, in order.
        """
        self._updates.extend(models)
        self._take_over_some()
        self._woken.set()

    def reload(self, name: VersionName) -> None:
        """Load a READY version anew, as it can be served better than it is; it answers meanwhile."""
        self._reloads.append(name)
        self._woken.set()

    def lease(self, target: Target) -> Lease:
        """Hold the version that answers to a name now; raise NotServed, NotReady or LoadFailed."""
        return self._leases.now(target)

    def lease_when_ready(
        self, target: Target, deadline: float | None = None, routing_key: str | None = None
    ) -> Coroutine[Any, Any, Lease]:
        """Lease the version that answers to a name once it is loaded: a desired version, or one loaded on demand.

        Any number of requests wait for one load, each until its own deadline, a time of time.monotonic. If an alias
        gives other versions a share, the key decides which one answers. An empty key decides at random; without a key
        the main version answers. Raises the errors of `lease`, DeadlineExceeded, and with `look_up` the errors of the
        lookup.
        """
        return self._leases.when_ready(target, deadline, routing_key)

    def would_answer(self, target: Target) -> Coroutine[Any, Any, bool]:
        """Say whether a request for this name would be answered: at once, or after a load on demand."""
        return self._waiting.would_answer(target)

    async def load_model(self, model_id: str) -> None:
        """Load a model's desired versions now, and return when it answers; raise NotServed, NotReady or LoadFailed."""
        model = self._models.by_id.get(model_id)
        if model is not None:
            model.switch(is_off=False)
            self._changed(model)
        await self._waiting.ready(ModelName(model_id), loads_on_demand=True)
        for name in tuple(self._models.known(model_id).wanted.versions):
            try:
                await self._waiting.ready(name, loads_on_demand=True)
            except (LoadFailed, NotServed):  # the report says so; or it is not desired any more
                continue

    async def unload_model(self, model_id: str) -> None:
        """Unload a model, load nothing of it until `load_model`, and return when its memory is free.

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
            await self._waiting.left(held[0])

    def report(self, model_id: str) -> ModelReport:
        """Describe one model; raise NotServed for a model that is neither loaded nor desired."""
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
        """Perform actions until cancelled: one at a time, and requests in between.

        Raises DeviceFailed where a load finds that the device has failed. However it ends, requests that wait for a
        version fail with Stopping.
        """
        try:
            async with asyncio.TaskGroup() as loads:
                while True:
                    self._woken.clear()
                    await self._take_over_all()
                    if self._models.is_informed:
                        self._begin_reloads(loads)
                        await self._act(loads)
                        self.readiness.check()
                    await self._woken.wait()
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from group
        finally:
            self._waiting.end()

    async def _take_over_all(self) -> None:
        while self._updates:
            self._take_over_some()
            await asyncio.sleep(0)

    def _take_over_some(self) -> None:
        until = time.monotonic() + _SLICE_SECONDS
        while self._updates and time.monotonic() < until:
            self._take_over(self._updates.popleft())
        if not self._updates and not self._models.is_informed:
            self._models.is_informed = True
            self._waiting.note_informed()

    def _take_over(self, wanted: WantedModel) -> None:
        self._waiting.note_change(wanted.model_id)
        if wanted.versions or wanted.model_id in self._models.by_id:
            model = self._models.add(wanted.model_id)
            model.want(wanted)
            if not self._models.is_informed:
                self.readiness.expect(model)
            self._changed(model)

    async def _act(self, loads: asyncio.TaskGroup) -> None:
        """Perform every action that is due."""
        self._is_short_of_room = False
        while not self._updates and (action := self._next_action()) is not None:
            self._is_short_of_room = isinstance(action, AwaitLeases)
            if self._is_short_of_room:
                return
            model = self._models.by_id[action.name.model_id]
            self._transitions.take(action, model.versions[action.name], loads)
            await asyncio.sleep(0)

    def _begin_reloads(self, loads: asyncio.TaskGroup) -> None:
        while self._reloads:
            name = self._reloads.popleft()
            model = self._models.by_id.get(name.model_id)
            if model is not None and (version := model.versions.get(name)) is not None:
                self._transitions.reload(version, loads)

    def _next_action(self) -> Action | None:
        now = time.monotonic()
        return next_action(self._models.agenda.due(now), now, self._memory)

    def _settle(self, version: ServedVersion) -> None:
        """Apply a version's change of state to memory, names and retries."""
        self._in_memory.note(version)
        if (model := self._models.by_id.get(version.name.model_id)) is not None:
            self._changed(model)
        if version.state is VersionState.FAILED:
            self._retry(version)

    def _retry(self, version: ServedVersion) -> None:
        """Wake the loop once a retry is due, and not before: an event loop's timer may fire too early."""
        seconds_left = version.retry_at - time.monotonic()
        if seconds_left > 0:
            asyncio.get_running_loop().call_later(seconds_left, self._retry, version)
        else:
            self._woken.set()

    def _lease_ended(self, version: ServedVersion) -> None:
        """Free a version that drains, or let another version have its memory."""
        if version.state is VersionState.DRAINING:
            self._transitions.free_if_drained(version)
        elif self._is_short_of_room:
            self._woken.set()

    def _changed(self, model: ServedModel) -> None:
        """Move names to READY versions, tell the watchers, and look for the next action."""
        self._models.settle(model)
        self.readiness.note(model)
        self._watchers.tell(model.model_id)
        self._woken.set()

    def _report(self, model: ServedModel) -> ModelReport:
        return replace(model.report(), obstacle=obstacle(model))
