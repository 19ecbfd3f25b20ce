"""Versions that are loaded when they are asked for: what was evicted, what never fitted, and what the registry has."""

from __future__ import annotations

import asyncio
import gc

import pytest

from inference_service.desired.desired_versions import WantedModel
from inference_service.errors import DeadlineExceeded, LoadFailed, NotReady, NotServed, Stopping
from inference_service.lifecycle.policy import VersionState
from model_store.errors import CorruptBlob, IllegalState, VersionNotFound
from model_store.names import AliasName, ModelName, VersionName
from tests.inference_service.loops import on_a_loop
from tests.inference_service.managing import FLOWERS, PRODUCTION, Setup, ready, running, states, version, wanted

BIRDS = VersionName("birds", 1)
MODEL = WantedModel("flowers")


async def started(setup: Setup, *numbers: int, **aliases: int) -> None:
    """Want versions and wait for the first pass."""
    setup.manager.update(wanted(*numbers, **aliases))
    await setup.manager.readiness.first_pass.wait()


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
        assert "made room" in rested.reason
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
async def test_many_requests_wait_for_one_load() -> None:
    """One that leaves, and one whose deadline passes, do not end it for the others."""
    async with running(budget_bytes=10) as setup:
        await started(setup, 1, 2)
        setup.may_load.clear()
        waiting = [asyncio.create_task(setup.answer(version(1))) for _ in range(20)]
        leaving = asyncio.create_task(setup.answer(version(1)))
        with pytest.raises(DeadlineExceeded):
            await setup.answer(version(1), seconds=0.02)
        leaving.cancel()
        setup.may_load.set()
        assert await asyncio.gather(*waiting) == [version(1)] * 20
        assert setup.loaded == [version(2), version(1)]
        assert leaving.cancelled()


@on_a_loop
async def test_nothing_is_loaded_for_callers_who_have_left() -> None:
    """Where the load had not begun."""
    async with running(budget_bytes=10) as setup:
        await started(setup, 1, 2)
        with setup.manager.lease(version(2)), pytest.raises(DeadlineExceeded):
            await setup.answer(version(1), seconds=0.02)
        await asyncio.sleep(0.02)
        assert ready(setup) == [2]


@on_a_loop
async def test_a_failed_load_is_told_to_all_who_wait_and_at_once_to_those_who_come() -> None:
    """After the backoff a request tries again."""
    async with running(budget_bytes=10) as setup:
        await started(setup, 1, 2)
        setup.broken[version(1)] = CorruptBlob("blob abc is corrupt")
        waiting = [asyncio.create_task(setup.answer(version(1))) for _ in range(5)]
        for each in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(each, LoadFailed)
            assert "blob abc is corrupt" in str(each)
        num_loads = setup.loaded.count(version(1))
        assert num_loads == 1
        with pytest.raises(LoadFailed):
            await setup.answer(version(1))
        assert setup.loaded.count(version(1)) == num_loads
        setup.broken.clear()
        await asyncio.sleep(0.02)
        assert await setup.answer(version(1)) == version(1)


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
async def test_a_request_waits_for_what_is_wanted_and_for_nothing_else() -> None:
    """Without a budget or on demand too: for a load, within its deadline; what is not wanted is not found."""
    async with running() as setup:
        setup.may_load.clear()
        setup.manager.update(wanted(1, 2))
        await setup.until_state(2, VersionState.LOADING)
        waiting = [asyncio.create_task(setup.answer(version(number))) for number in (1, 2)]
        with pytest.raises(DeadlineExceeded, match="was not loaded by the deadline"):
            await setup.answer(version(1), seconds=0.01)
        with pytest.raises(NotServed):
            await setup.answer(version(3))
        setup.may_load.set()
        assert await asyncio.gather(*waiting) == [version(1), version(2)]


@on_a_loop
async def test_a_request_waits_for_the_registry_to_be_read() -> None:
    """Within its deadline; without one it is told to come again."""
    async with running() as setup:
        waiting = asyncio.create_task(setup.answer(FLOWERS))
        with pytest.raises(NotReady, match="starting"):
            await setup.manager.lease_when_ready(FLOWERS)
        setup.manager.update(wanted(1))
        assert await waiting == version(1)
        with pytest.raises(NotServed):
            await setup.answer(ModelName("birds"))


@on_a_loop
async def test_who_asks_for_a_version_that_waits_for_its_load_is_next() -> None:
    """Of many that are wanted, what a request waits for is loaded before the others."""
    async with running() as setup:
        setup.may_load.clear()
        setup.manager.update(wanted(1, 2, 3, 4))
        await setup.until_state(4, VersionState.LOADING)
        waiting = asyncio.create_task(setup.answer(version(1)))
        await asyncio.sleep(0)
        setup.may_load.set()
        assert await waiting == version(1)
        assert setup.loaded[:2] == [version(4), version(1)]


@on_a_loop
async def test_whoever_waits_for_a_version_is_answered_when_the_manager_ends() -> None:
    """Whether it was cancelled or died, and whatever the request waits for."""
    async with running(on_demand=True) as setup:
        setup.may_load.clear()
        setup.manager.update(wanted(1, 2))
        await setup.until_state(2, VersionState.LOADING)
        waiting = [asyncio.create_task(setup.answer(version(number))) for number in (1, 2)]
        await asyncio.sleep(0)
        unloading = asyncio.create_task(setup.manager.unload_model("flowers"))
        await asyncio.sleep(0)
        setup.acting.cancel()
        for each in (*waiting, unloading):
            with pytest.raises(Stopping):
                await each


@on_a_loop
async def test_any_version_in_the_registry_is_loaded_on_demand() -> None:
    """One of a model that the service knows, and one of a model that it does not; both stay."""
    async with running(on_demand=True) as setup:
        await started(setup, 1, production=1)
        setup.registry |= {version(7): MODEL, BIRDS: WantedModel("birds", newest=BIRDS)}
        assert await setup.answer(version(7)) == version(7)
        assert await setup.answer(ModelName("birds")) == BIRDS
        assert await setup.answer(ModelName("birds")) == await setup.answer(BIRDS) == BIRDS
        assert setup.asked == [version(7), ModelName("birds")]
        assert await setup.answer(FLOWERS) == version(1)
        assert (ready(setup), ready(setup, "birds")) == ([1, 7], [1])


@on_a_loop
async def test_a_version_that_is_deleted_does_not_stay() -> None:
    """Nor does it come back; the rest of the model goes on."""
    async with running(on_demand=True) as setup:
        await started(setup, 1)
        setup.registry |= {version(7): MODEL, version(8): MODEL}
        assert [await setup.answer(version(number)) for number in (7, 8)] == [version(7), version(8)]
        del setup.registry[version(7)]
        (model,) = wanted(1)
        setup.manager.update([WantedModel("flowers", model.versions, deleted={version(7)})])
        await setup.until_state(7, VersionState.UNLOADED)
        assert ready(setup) == [1, 8]
        with pytest.raises(VersionNotFound):
            await setup.answer(version(7))
        setup.manager.update([WantedModel("flowers", is_gone=True)])
        await setup.until(lambda report: not report.versions)


@on_a_loop
async def test_where_changes_are_missing_what_was_asked_for_is_looked_up_anew() -> None:
    """It may have been deleted meanwhile: it goes, and comes back with the next request if it is still there."""
    async with running(on_demand=True) as setup:
        await started(setup, 1)
        setup.registry |= {version(7): MODEL, version(8): MODEL}
        assert [await setup.answer(version(number)) for number in (7, 8)] == [version(7), version(8)]
        del setup.registry[version(7)]
        (model,) = wanted(1)
        setup.manager.update([WantedModel("flowers", model.versions, has_gap=True)])
        for number in (7, 8):
            await setup.until_state(number, VersionState.UNLOADED)
        assert await setup.answer(version(8)) == version(8)
        with pytest.raises(VersionNotFound):
            await setup.answer(version(7))


@on_a_loop
async def test_a_version_that_is_deleted_while_it_is_looked_up_is_not_loaded() -> None:
    """The answer that was on its way is not believed."""
    async with running(on_demand=True) as setup:
        await started(setup, 1)
        setup.registry[version(7)] = MODEL
        setup.may_answer.clear()
        waiting = asyncio.create_task(setup.answer(version(7)))
        async with asyncio.timeout(10):
            while not setup.asked:  # noqa: ASYNC110  a thread asks
                await asyncio.sleep(0.001)
        del setup.registry[version(7)]
        (model,) = wanted(1)
        setup.manager.update([WantedModel("flowers", model.versions, deleted={version(7)})])
        setup.may_answer.set()
        with pytest.raises(VersionNotFound):
            await waiting
        assert setup.asked == [version(7), version(7)]


@on_a_loop
async def test_a_flood_of_wrong_names_is_no_flood_of_queries() -> None:
    """Side by side or one after the other, one question is put; once the model changes it is put again."""
    async with running(on_demand=True) as setup:
        await started(setup, 1)
        for _ in range(3):
            waiting = [setup.answer(version(9)) for _ in range(50)]
            for each in await asyncio.gather(*waiting, return_exceptions=True):
                assert isinstance(each, VersionNotFound)
        assert setup.asked == [version(9)]
        setup.registry[version(9)] = MODEL
        setup.manager.update(wanted(1))
        assert await setup.answer(version(9)) == version(9)


@on_a_loop
async def test_on_demand_within_a_budget() -> None:
    """What nobody wants goes as what is wanted does, and both come back."""
    async with running(on_demand=True, budget_bytes=20) as setup:
        await started(setup, 1)
        setup.registry |= {version(number): MODEL for number in range(2, 6)}
        for number in (2, 3, 4, 5, 1, 2):
            assert await setup.answer(version(number)) == version(number)
            assert len(ready(setup)) <= 2
        assert ready(setup) == [1, 2]


@on_a_loop
async def test_an_alias_that_is_not_served_by_itself_follows_the_registry() -> None:
    """With no wish for aliases, a request brings up what the alias means now, not what it meant."""
    async with running(on_demand=True) as setup:
        await started(setup)
        setup.registry[version(1)] = setup.registry[version(2)] = WantedModel("flowers", {}, {"production": 1})
        setup.manager.update([WantedModel("flowers", {}, {"production": 1})])
        assert await setup.answer(version(1)) == version(1)
        assert await setup.answer(PRODUCTION) == version(1)
        setup.manager.update([WantedModel("flowers", {}, {"production": 2})])
        assert await setup.answer(PRODUCTION) == version(2)
        assert await setup.answer(FLOWERS) == version(2)


@on_a_loop
async def test_whether_a_name_would_answer() -> None:
    """What is evicted, or in the registry, would; what loads, failed, is off or is not there would not."""
    async with running(on_demand=True, budget_bytes=10) as setup:
        await started(setup, 1, 2)
        setup.registry[version(3)] = MODEL
        assert [await setup.manager.would_answer(version(number)) for number in (1, 2, 3)] == [True, True, True]
        assert not await setup.manager.would_answer(version(4))
        assert (ready(setup), setup.loaded) == ([2], [version(2)])
        setup.may_load.clear()
        waiting = asyncio.create_task(setup.answer(version(1)))
        await setup.until_state(1, VersionState.LOADING)
        assert not await setup.manager.would_answer(version(1))
        setup.may_load.set()
        await waiting
        await setup.manager.unload_model("flowers")
        assert not await setup.manager.would_answer(FLOWERS)


@on_a_loop
async def test_a_model_that_is_unloaded_by_a_call_stays_so() -> None:
    """Also what was loaded on demand, and what is published meanwhile; loading it brings back all that is wanted."""
    async with running(on_demand=True) as setup:
        await started(setup, 1, 2, production=1)
        setup.registry[version(7)] = MODEL
        await setup.answer(version(7))
        await setup.manager.unload_model("flowers")
        assert ready(setup) == []
        setup.manager.update(wanted(1, 2, 3, production=3))
        for target in (FLOWERS, PRODUCTION, version(2), version(7)):
            with pytest.raises(NotReady, match="RepositoryModelLoad"):
                await setup.answer(target)
        await setup.manager.load_model("flowers")
        assert ready(setup) == [1, 2, 3]
        assert await setup.answer() == version(3)


@on_a_loop
async def test_an_unload_outlives_what_is_wanted_but_not_the_model() -> None:
    """A model that is deleted and published again begins anew."""
    async with running(on_demand=True) as setup:
        await started(setup, 1)
        await setup.manager.unload_model("flowers")
        setup.manager.update([WantedModel("flowers", newest=version(1))])
        with pytest.raises(NotReady):
            await setup.answer(FLOWERS)
        setup.manager.update([WantedModel("flowers", is_gone=True)])
        setup.manager.update(wanted(2))
        await setup.until_state(2, VersionState.READY)


@on_a_loop
async def test_a_load_by_a_call_tries_what_failed_at_once() -> None:
    """And says what is wrong."""
    async with running() as setup:
        setup.broken[version(1)] = CorruptBlob("damaged")
        await started(setup, 1)
        with pytest.raises(LoadFailed, match="damaged"):
            await setup.manager.load_model("flowers")
        setup.broken.clear()
        await setup.manager.load_model("flowers")
        assert ready(setup) == [1]


@on_a_loop
async def test_a_pinned_model_is_not_unloaded() -> None:
    """It is the operator's word against a caller's."""
    async with running() as setup:
        (model,) = wanted(1)
        setup.manager.update([WantedModel("flowers", model.versions, {}, frozenset({version(1)}))])
        await setup.manager.readiness.first_pass.wait()
        with pytest.raises(IllegalState, match="MAAS_INFERENCE_PINNED"):
            await setup.manager.unload_model("flowers")
        assert ready(setup) == [1]


@on_a_loop
async def test_many_cycles_of_loads_leave_nothing_behind() -> None:
    """Neither stages, nor versions, nor tasks."""
    async with running(on_demand=True, budget_bytes=20) as setup:
        await started(setup, 1)
        setup.registry |= {version(number): MODEL for number in range(2, 62)}
        counts = []
        for number in range(2, 62):
            assert await setup.answer(version(number)) == version(number)
            if number in {31, 61}:
                gc.collect()
                known = len(setup.manager.report("flowers").versions)
                counts.append((len(setup.live_stages), known, len(asyncio.all_tasks())))
        assert counts[0] == counts[1]
        assert counts[0][0] == 2
        assert len(setup.loaded) == 61


@on_a_loop
async def test_the_last_use_is_reported() -> None:
    """None before the first; it stays known after an eviction."""
    async with running(budget_bytes=10) as setup:
        await started(setup, 1, 2)
        assert [each.last_used_at for each in setup.manager.report("flowers").versions] == [None, None]
        setup.answers(version(2))
        first = setup.manager.report("flowers").versions[0].last_used_at
        assert first is not None
        await setup.answer(version(1))
        report = setup.manager.report("flowers")
        assert states(report) == [(version(2), VersionState.UNLOADED), (version(1), VersionState.READY)]
        last_used = [each.last_used_at for each in report.versions]
        assert last_used[0] is not None
        assert last_used[1] is not None
        assert abs((last_used[0] - first).total_seconds()) < 0.001
        assert last_used[0] < last_used[1]
