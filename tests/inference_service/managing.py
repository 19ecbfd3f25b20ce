"""A manager whose loader and registry the tests hold, let go and break."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Hashable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any
from weakref import WeakValueDictionary

from torch import nn

from inference_service.backoff import Backoff
from inference_service.desired.desired_versions import Found, Target, WantedModel
from inference_service.lifecycle.load_tasks import Loading
from inference_service.lifecycle.manager import Manager
from inference_service.lifecycle.policy import VersionState
from inference_service.lifecycle.served_model import ModelReport
from inference_service.models.precision import Precision
from inference_service.models.resident import ResidentVersion, Stage, StageKey
from model_store.errors import VersionNotFound
from model_store.names import AliasName, ModelName, VersionName
from tests.inference_service.making import ARCHITECTURE, SPEC

FLOWERS = ModelName("flowers")
PRODUCTION = AliasName("flowers", "production")
BIRDS = VersionName("birds", 1)
MODEL = WantedModel("flowers")


def version(number: int) -> VersionName:
    """Name a version of the one model."""
    return VersionName("flowers", number)


def wanted(*numbers: int, **aliases: int) -> list[WantedModel]:
    """Want these versions and aliases of the one model."""
    return [WantedModel("flowers", {version(number): f"digest {number}" for number in numbers}, aliases)]


class Setup:
    """A manager whose loads wait for `may_load`, fail for the versions in `broken`, and are listed in `loaded`.

    A version has one stage of 10 bytes, or those in `stages`: equal names are one stage. What is in `registry` can be
    looked up, where that `may_answer`; `asked` lists the questions. `acting` is the manager's task.
    """

    acting: asyncio.Task[None]

    def __init__(
        self,
        thread: ThreadPoolExecutor,
        *,
        on_demand: bool,
        backoff: Backoff = Backoff(0.01, 0.04),  # noqa: B008  frozen
        **options: Any,
    ) -> None:
        self.may_load, self.may_answer = threading.Event(), threading.Event()
        self.may_load.set()
        self.may_answer.set()
        self.broken: dict[VersionName, Exception] = {}
        self.loaded: list[VersionName] = []
        self.stages: dict[VersionName, Mapping[str, int]] = {}
        self.live_stages: WeakValueDictionary[str, Stage] = WeakValueDictionary()
        self.registry: dict[VersionName, WantedModel] = {}
        self.asked: list[Target] = []
        self.manager = Manager(
            Loading(self._load, self._measure, thread, backoff),
            look_up=self._look_up if on_demand else None,
            **options,
        )

    def _load(self, name: VersionName, digest: str) -> ResidentVersion:
        assert digest == f"digest {name.number}"
        assert self.may_load.wait(10)
        self.loaded.append(name)
        if name in self.broken:
            raise self.broken[name]
        return ResidentVersion(
            name=name,
            architecture=ARCHITECTURE,
            embedding_size=512,
            input_spec=SPEC,
            task=None,
            backbone=tuple(self._stage(*each) for each in self._stages_of(name).items()),
            head=None,
        )

    def _measure(self, name: VersionName, digest: str) -> dict[Hashable, int]:
        assert digest == f"digest {name.number}"
        return {self._stage(*each).identity: each[1] for each in self._stages_of(name).items()}

    def _stages_of(self, name: VersionName) -> Mapping[str, int]:
        return self.stages.get(name, {str(name): 10})

    def _stage(self, name: str, size: int) -> Stage:
        key = StageKey(ARCHITECTURE, "{}", "", name, name)
        return self.live_stages.get(name) or self.live_stages.setdefault(
            name, Stage(key, Precision.FLOAT32, nn.Identity(), size)
        )

    def _look_up(self, target: Target) -> Found:
        found = {name: model for name, model in self.registry.items() if target in {name, ModelName(name.model_id)}}
        self.asked.append(target)
        assert self.may_answer.wait(10)
        if not found:
            raise VersionNotFound(f"{target} does not exist")
        return Found(max(found), f"digest {max(found).number}", found[max(found)])

    async def until(self, condition: Callable[[ModelReport], bool]) -> ModelReport:
        """Watch the model until its report meets a condition."""
        async with asyncio.timeout(10):
            async for report in self.manager.watch("flowers"):
                if condition(report):
                    return report
        raise AssertionError("the watch ended")

    async def until_state(self, number: int, state: VersionState) -> ModelReport:
        """Watch until a version is in a state."""
        return await self.until(lambda report: (version(number), state) in states(report))

    def answers(self, target: Target = PRODUCTION) -> VersionName:
        """Return the version that answers to a name now."""
        with self.manager.lease(target) as resident:
            return resident.name

    async def answer(self, target: Target = PRODUCTION, seconds: float = 10.0) -> VersionName:
        """Return the version that answers to a name, once it is loaded."""
        deadline = time.monotonic() + seconds
        with await self.manager.lease_when_ready(target, deadline) as resident:
            return resident.name


def states(report: ModelReport) -> list[tuple[VersionName, VersionState]]:
    """Return the state of each version in a report."""
    return [(each.name, each.state) for each in report.versions]


def ready(setup: Setup, model_id: str = "flowers") -> list[int]:
    """Return the numbers of the versions that are READY."""
    report = setup.manager.report(model_id)
    return sorted(each.name.number for each in report.versions if each.state is VersionState.READY)


@asynccontextmanager
async def running(
    drain_deadline_seconds: float = 30.0, *, on_demand: bool = False, **options: Any
) -> AsyncIterator[Setup]:
    """Run a manager while the block runs."""
    with ThreadPoolExecutor(1) as thread:
        setup = Setup(thread, on_demand=on_demand, drain_deadline_seconds=drain_deadline_seconds, **options)
        setup.acting = asyncio.create_task(setup.manager.run())
        try:
            yield setup
        finally:
            setup.may_load.set()
            setup.may_answer.set()
            setup.acting.cancel()
            await asyncio.wait([setup.acting])


async def started(setup: Setup, *numbers: int, **aliases: int) -> None:
    """Want versions and wait for the first pass."""
    setup.manager.update(wanted(*numbers, **aliases))
    await setup.manager.readiness.first_pass.wait()
