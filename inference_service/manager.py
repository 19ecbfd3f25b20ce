"""The only holder of version state: loads and unloads one version at a time, and leases them to requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from concurrent.futures import Executor
from contextlib import aclosing, contextmanager
from itertools import chain

import structlog

from inference_service.backoff import Backoff
from inference_service.errors import NotReady, NotServed
from inference_service.policy import Load, Standing, Unload, VersionState, next_action
from inference_service.resident import ResidentVersion
from inference_service.served_model import ModelReport, ServedModel, ServedVersion
from inference_service.wanted import WantedModel
from inference_service.watchers import Watchers
from model_store.errors import StoreError
from model_store.names import AliasName, ModelName, VersionName, model_name

_log = structlog.get_logger()


class Manager:
    """Keeps what is loaded equal to what is wanted; use it on the event loop only.

    `load` runs in `loader_thread`, off the request path. A request holds a lease on a version while it needs it: a
    version that is unloaded takes no new lease, and is freed when the last one ends or the drain deadline passes.
    After that deadline the requests that are left still end well: what they hold stays in memory until they let go.
    """

    def __init__(
        self,
        load: Callable[[VersionName, str], ResidentVersion],
        loader_thread: Executor,
        *,
        backoff: Backoff,
        drain_deadline_seconds: float,
    ) -> None:
        self._load = load
        self._loader_thread = loader_thread
        self._backoff = backoff
        self._drain_deadline_seconds = drain_deadline_seconds
        self._models: dict[str, ServedModel] = {}
        self._informed = False
        self._woken = asyncio.Event()
        self._watchers = Watchers()
        self.first_pass = asyncio.Event()
        """Set once everything wanted at the start is loaded, or failed to."""

    def update(self, models: Iterable[WantedModel]) -> None:
        """Take over what should be loaded of these models; the first call names all there are."""
        for wanted in models:
            if wanted.versions or wanted.model_id in self._models:
                model = self._models.setdefault(wanted.model_id, ServedModel(wanted.model_id))
                model.want(wanted)
                self._changed(model)
        self._informed = True
        self._woken.set()

    @contextmanager
    def lease(self, target: ModelName | AliasName | VersionName) -> Iterator[ResidentVersion]:
        """Hold the version that answers to a name now; raise NotServed, NotReady or LoadFailed."""
        version = self._model(target.model_id).find(target)
        if version.resident is None:
            raise RuntimeError(f"{version.name} is {version.state} without being loaded")
        version.num_leases += 1
        try:
            yield version.resident
        finally:
            version.num_leases -= 1
            self._free_if_drained(version)

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
                while (action := next_action(self._standings(), _now())) is not None:
                    self._perform(action, loads)
                    await asyncio.sleep(0)
                self._note_first_pass()
                await self._woken.wait()

    def _perform(self, action: Load | Unload, loads: asyncio.TaskGroup) -> None:
        model = self._models[action.name.model_id]
        version = model.versions[action.name]
        if isinstance(action, Unload):
            self._unload(version)
        elif version.state is VersionState.DRAINING:
            self._take_back(version)
        else:
            version.move(VersionState.LOADING)
            loads.create_task(self._bring_up(version))
        self._changed(model)

    async def _bring_up(self, version: ServedVersion) -> None:
        started = _now()
        loading = asyncio.get_running_loop().run_in_executor(
            self._loader_thread, self._load, version.name, version.manifest_digest
        )
        await asyncio.wait([loading])  # unlike `await loading`, this does not raise what the load raised
        error = loading.exception()
        if error is None:
            version.resident, version.load_seconds, version.num_failures = loading.result(), _now() - started, 0
            version.move(VersionState.READY)
            _log.info("version_ready", version=str(version.name), load_seconds=round(version.load_seconds, 3))
        else:
            self._note_failure(version, error)
        self._changed(self._models[version.name.model_id])

    def _note_failure(self, version: ServedVersion, error: BaseException) -> None:
        version.num_failures += 1
        delay = self._backoff.seconds(version.num_failures)
        version.retry_at = _now() + delay
        version.move(VersionState.FAILED, _reason(error))
        asyncio.get_running_loop().call_later(delay, self._woken.set)
        unexpected = None if isinstance(error, StoreError) else error
        _log.error(
            "load_failed", version=str(version.name), reason=str(error), retry_seconds=delay, exc_info=unexpected
        )

    def _unload(self, version: ServedVersion) -> None:
        """Take no new lease; free at once where there is none, else with the last one or at the deadline."""
        version.move(VersionState.DRAINING)
        version.drain_timer = asyncio.get_running_loop().call_later(
            self._drain_deadline_seconds, self._free_undrained, version
        )
        self._free_if_drained(version)

    def _take_back(self, version: ServedVersion) -> None:
        version.move(VersionState.READY)
        _stop_timer(version)

    def _free_if_drained(self, version: ServedVersion) -> None:
        if version.state is VersionState.DRAINING and version.num_leases == 0:
            self._free(version)

    def _free_undrained(self, version: ServedVersion) -> None:
        _log.warning("drain_deadline_passed", version=str(version.name), num_requests=version.num_leases)
        self._free(version)

    def _free(self, version: ServedVersion) -> None:
        _stop_timer(version)
        version.resident = None
        version.move(VersionState.UNLOADED)
        _log.info("version_unloaded", version=str(version.name))
        self._changed(self._models[version.name.model_id])

    def _changed(self, model: ServedModel) -> None:
        """Let names follow the versions' states, tell the watchers, and look for the next step."""
        model.flip()
        if model.forget():
            self._models.pop(model.model_id, None)
        self._watchers.tell(model.model_id)
        self._woken.set()

    def _model(self, model_id: str) -> ServedModel:
        model = self._models.get(model_id)
        if model is not None:
            return model
        if not self._informed:
            raise NotReady("the service is starting and has not read the registry yet: try again in a moment")
        raise NotServed(f"{model_name(model_id)} is not served here; `maas models` lists what there is")

    def _standings(self) -> Iterator[Standing]:
        return chain.from_iterable(model.standings() for model in self._models.values())

    def _note_first_pass(self) -> None:
        untried = {VersionState.PENDING, VersionState.LOADING}
        if self._informed and not any(each.state in untried for each in self._standings()):
            self.first_pass.set()


def _now() -> float:
    return asyncio.get_running_loop().time()


def _stop_timer(version: ServedVersion) -> None:
    if version.drain_timer is not None:
        version.drain_timer.cancel()
        version.drain_timer = None


def _reason(error: BaseException) -> str:
    """Return a text fit for callers: what the store says on purpose, and of anything else its kind alone."""
    if isinstance(error, StoreError):
        return str(error)
    return f"internal error ({type(error).__name__}): the service's log has the rest"
