"""Versions within a memory budget: what is evicted, what is deferred, and what a request loads again."""

from __future__ import annotations

import asyncio
import gc

import pytest

from inference_service.desired.desired_versions import WantedModel
from inference_service.errors import DeadlineExceeded, LoadFailed
from inference_service.lifecycle.policy import VersionState
from model_store.errors import CorruptBlob
from model_store.names import AliasName
from tests.inference_service.loops import on_a_loop
from tests.inference_service.managing import FLOWERS, MODEL, PRODUCTION, ready, running, started, version, wanted


@on_a_loop
async def test_the_start_fills_the_budget_and_no_more() -> None:
    """What found no room rests, says so, and nothing is loaded and thrown out again."""
    async with running(budget_bytes=30) as setup:
        await started(setup, 1, 2, 3, 4, 5)
        assert ready(setup) == [3, 4, 5]
        assert setup.loaded == [version(5), version(4), version(3)]
        reasons = {each.name.number: each.reason for each in setup.manager.report("flowers").versions}
        assert "no memory was free" in reasons[1]
        assert "no memory was free" in reasons[2]
        assert reasons[3] == ""


@on_a_loop
async def test_a_request_brings_back_what_was_evicted() -> None:
    """The least recently used makes room; what was used stays."""
    async with running(budget_bytes=20) as setup:
        await started(setup, 1, 2, 3)
        assert ready(setup) == [2, 3]
        assert setup.answers(version(3)) == version(3)
        assert setup.answers(version(2)) == version(2)
        assert await setup.answer(version(1)) == version(1)
        assert ready(setup) == [1, 2]
        (rested,) = [each for each in setup.manager.report("flowers").versions if each.state is VersionState.UNLOADED]
        assert "was evicted" in rested.reason
        assert await setup.answer(version(3)) == version(3)
        assert ready(setup) == [1, 3]


@on_a_loop
async def test_a_name_is_answered_by_its_own_version_after_an_eviction() -> None:
    """An alias, and the model's own name, bring their version back rather than being answered by another."""
    async with running(budget_bytes=10) as setup:
        await started(setup, 1, 2, production=1, canary=2)
        for target, number in ((PRODUCTION, 1), (AliasName("flowers", "canary"), 2), (FLOWERS, 1), (version(2), 2)):
            assert await setup.answer(target) == version(number)
            assert ready(setup) == [number]
    async with running(budget_bytes=10) as setup:
        await started(setup, 1, 2)
        assert await setup.answer(version(1)) == version(1)
        assert await setup.answer(FLOWERS) == version(2)


@on_a_loop
async def test_shared_stages_need_no_room_of_their_own() -> None:
    """Three heads on one backbone fit where two models would not."""
    async with running(budget_bytes=14) as setup:
        for number in (1, 2, 3, 4):
            setup.stages[version(number)] = {"backbone": 10, f"head {number}": 1}
        await started(setup, 1, 2, 3, 4)
        assert ready(setup) == [1, 2, 3, 4]


@on_a_loop
async def test_a_pinned_version_is_never_evicted() -> None:
    """It loads first, and what does not fit beside it fails, and says why."""
    async with running(budget_bytes=25) as setup:
        setup.stages[version(4)] = {"large": 20}
        (model,) = wanted(1, 2, 3, 4)
        setup.manager.update([WantedModel("flowers", model.versions, {}, frozenset({version(1)}))])
        await setup.manager.readiness.first_pass.wait()
        assert ready(setup) == [1, 3]
        assert setup.loaded[0] == version(1)
        assert await setup.answer(version(2)) == version(2)
        assert ready(setup) == [1, 2]
        with pytest.raises(LoadFailed, match=r"takes 30 bytes.*25.*MAAS_INFERENCE_MEMORY_BUDGET_MB"):
            await setup.answer(version(4))
        assert [each.is_pinned for each in setup.manager.report("flowers").versions] == [False, False, False, True]


@on_a_loop
async def test_what_cannot_fit_alone_fails_without_throwing_others_out() -> None:
    """Nothing is loaded or evicted for it."""
    async with running(budget_bytes=10) as setup:
        setup.stages[version(1)] = {"large": 11}
        await started(setup, 1, 2)
        report = await setup.until_state(1, VersionState.FAILED)
        assert "takes 11 bytes" in report.versions[1].reason
        assert (ready(setup), setup.loaded) == ([2], [version(2)])


@on_a_loop
async def test_a_version_in_use_is_not_evicted() -> None:
    """The request for another waits until it ends, or until its own deadline."""
    async with running(budget_bytes=10) as setup:
        await started(setup, 1, 2)
        with setup.manager.lease(version(2)):
            with pytest.raises(DeadlineExceeded, match="versions/1 was not loaded by the deadline"):
                await setup.answer(version(1), seconds=0.02)
            waiting = asyncio.create_task(setup.answer(version(1)))
            await asyncio.sleep(0.02)
            assert not waiting.done()
            assert ready(setup) == [2]
        assert await waiting == version(1)


@on_a_loop
async def test_a_new_version_takes_the_place_of_the_one_before() -> None:
    """Though memory holds only one; where it fails, the one before is brought back."""
    async with running(budget_bytes=10) as setup:
        await started(setup, 1, production=1)
        setup.manager.update(wanted(2, production=2))
        await setup.until_state(2, VersionState.READY)
        assert await setup.answer() == version(2)
        setup.broken[version(3)] = CorruptBlob("damaged")
        setup.manager.update(wanted(3, production=3))
        await setup.until_state(3, VersionState.FAILED)
        assert await setup.answer() == version(2)


@on_a_loop
async def test_a_deployment_makes_others_room() -> None:
    """A name that moves to what rests loads it: it is not left with the version before."""
    async with running(budget_bytes=20) as setup:
        await started(setup, 1, 2, 3, production=3)
        assert ready(setup) == [2, 3]
        setup.manager.update(wanted(1, 2, 3, production=1))
        await setup.until(lambda report: report.default_version == version(1))
        assert 2 not in ready(setup)


@on_a_loop
async def test_many_cycles_of_loads_leave_nothing_behind() -> None:
    """Neither stages, nor versions, nor tasks."""
    async with running(on_demand=True, budget_bytes=20) as setup:
        await started(setup, 1)
        num_tasks = len(asyncio.all_tasks())
        setup.registry |= {version(number): MODEL for number in range(2, 62)}
        counts = []
        for number in range(2, 62):
            assert await setup.answer(version(number)) == version(number)
            if number in {31, 61}:
                async with asyncio.timeout(10):
                    while len(asyncio.all_tasks()) > num_tasks:  # an eviction may still be ending  # noqa: ASYNC110
                        await asyncio.sleep(0)
                gc.collect()
                counts.append((len(setup.live_stages), len(setup.manager.report("flowers").versions)))
        assert counts[0] == counts[1]
        assert counts[0][0] == 2
        assert len(setup.loaded) == 61
