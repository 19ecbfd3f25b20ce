"""Whatever is wanted, asked for, held, broken, deleted and switched off: the manager keeps its promises."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from contextlib import ExitStack

from hypothesis import given, settings
from hypothesis import strategies as st

from inference_service.desired.desired_versions import Target, WantedModel
from inference_service.errors import NotReady
from model_store.errors import CorruptBlob, StoreError
from model_store.names import VersionName
from model_store.records.aliases import Share, Traffic
from tests.inference_service.managing import FLOWERS, PRODUCTION, Setup, running, version

NUMBERS = range(1, 7)
BUDGET = 21
numbers = st.sampled_from(NUMBERS)
targets = st.one_of(numbers.map(version), st.just(FLOWERS), st.just(PRODUCTION))
events = st.one_of(
    st.tuples(st.just("want"), st.sets(numbers, max_size=4), numbers, st.booleans()),
    st.tuples(st.just("ask"), targets),
    st.tuples(st.just("leave"), st.integers(0, 5)),
    st.tuples(st.just("hold"), targets),
    st.tuples(st.just("release")),
    st.tuples(st.just("spoil"), numbers),
    st.tuples(st.just("heal")),
    st.tuples(st.just("delete"), numbers),
    st.tuples(st.just("switch"), st.booleans()),
    st.tuples(st.just("wait")),
)


class World:
    """A registry and callers around one manager."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.wanted = WantedModel("flowers")
        self.held = ExitStack()
        self.asking: list[asyncio.Task[VersionName]] = []
        self.switching: list[asyncio.Task[None]] = []
        for number in NUMBERS:
            setup.stages[version(number)] = {f"backbone {number % 2}": 6, f"head {number}": 3}
            setup.registry[version(number)] = WantedModel("flowers", newest=version(max(NUMBERS)))

    def want(self, chosen: set[int], aliased: int, is_aliased: bool) -> None:  # noqa: FBT001  drawn by hypothesis
        """Let the registry want other versions, and split the alias."""
        living = {name.number for name in self.setup.registry}
        aliases = {"production": aliased} if is_aliased and aliased in living else {}
        versions = {version(number): f"digest {number}" for number in (chosen | set(aliases.values())) & living}
        shares = [Share(number, 30.0) for number in sorted(chosen & living - set(aliases.values()))]
        traffic = {alias: Traffic(tuple(shares[:2])) for alias in aliases if shares}
        pinned = {name for name in versions if name.number == 1}
        newest = max(self.setup.registry, default=None)
        self.wanted = WantedModel("flowers", versions, aliases, pinned, traffic, newest)
        self.setup.manager.update([self.wanted])

    def ask(self, target: Target) -> None:
        """Ask for a name, and wait as long as it takes."""
        self.asking.append(asyncio.create_task(self.setup.answer(target, seconds=60)))

    def leave(self, position: int) -> None:
        """Let a caller go who may be waiting."""
        if position < len(self.asking):
            self.asking.pop(position).cancel()

    def hold(self, target: Target) -> None:
        """Take a lease, where there is something to take."""
        try:
            self.held.enter_context(self.setup.manager.lease(target))
        except StoreError:
            return

    def release(self) -> None:
        """Let all leases go."""
        self.held.close()

    def spoil(self, number: int) -> None:
        """Let loads of a version fail."""
        self.setup.broken[version(number)] = CorruptBlob("damaged")

    def heal(self) -> None:
        """Let no load fail any more."""
        self.setup.broken.clear()

    def delete(self, number: int) -> None:
        """Delete a version, and tell the manager as the change feed does."""
        self.setup.registry.pop(version(number), None)
        newest = max(self.setup.registry, default=None)
        self.setup.registry |= dict.fromkeys(self.setup.registry, WantedModel("flowers", newest=newest))
        versions = {name: digest for name, digest in self.wanted.versions.items() if name.number != number}
        aliases = {alias: target for alias, target in self.wanted.aliases.items() if target != number}
        self.wanted = WantedModel(
            "flowers", versions, aliases, newest=newest, deleted={version(number)}, is_gone=not newest
        )
        self.setup.manager.update([self.wanted])

    def switch(self, is_off: bool) -> None:  # noqa: FBT001  drawn by hypothesis
        """Load or unload the model by a call."""
        call: Callable[[str], Awaitable[None]] = (
            self.setup.manager.unload_model if is_off else self.setup.manager.load_model
        )
        self.switching.append(asyncio.create_task(_called(call)))

    def wait(self) -> None:
        """Do nothing."""

    def check(self) -> None:
        """Memory is within the budget, and counted right."""
        in_memory = self.setup.manager._in_memory.stages
        assert sum(in_memory.values()) <= BUDGET
        models = self.setup.manager._models.by_id.values()
        resident = [each.resident for model in models for each in model.versions.values() if each.resident is not None]
        assert in_memory == {stage.identity: stage.size_bytes for each in resident for stage in each.stages}


async def _called(call: Callable[[str], Awaitable[None]]) -> None:
    try:
        await call(FLOWERS.model_id)
    except StoreError:
        return


async def play(steps: list[tuple[object, ...]]) -> None:
    """Let all of it happen, then let everybody end."""
    async with running(on_demand=True, budget_bytes=BUDGET) as setup:
        world = World(setup)
        setup.manager.update([])
        for name, *arguments in steps:
            getattr(world, str(name))(*arguments)
            for _ in range(3):
                await asyncio.sleep(0)
                world.check()
        world.release()
        async with asyncio.timeout(20):
            found = await asyncio.gather(*world.asking, return_exceptions=True)
            await asyncio.gather(*world.switching)
        assert all(isinstance(each, VersionName | StoreError) for each in found), found
        world.check()
        await _answers_again(setup)
        world.check()
        gc.collect()
        names = {key[0].name for key in setup.manager._in_memory.stages}  # type: ignore[index]
        assert set(setup.live_stages) == names


async def _answers_again(setup: Setup) -> None:
    """Everything in the registry can be had, once nothing is broken."""
    setup.broken.clear()
    for name in sorted(setup.registry):
        for _ in range(200):
            try:
                assert await setup.answer(name) == name
                break
            except NotReady:
                await setup.manager.load_model(name.model_id)
            except StoreError:
                await asyncio.sleep(0.005)  # the backoff of what was broken
        else:
            raise AssertionError(f"{name} never answered")


@settings(max_examples=30, deadline=None)
@given(st.lists(events, max_size=25))
def test_whatever_happens_promises_are_kept(steps: list[tuple[object, ...]]) -> None:
    """Memory stays within the budget, everybody is answered, and in the end all that there is can be had."""
    asyncio.run(play(steps))
