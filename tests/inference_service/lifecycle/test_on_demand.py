"""Requests that wait for a load, and models that are loaded and unloaded by a call."""

from __future__ import annotations

import asyncio

import pytest

from inference_service.desired.desired_versions import WantedModel
from inference_service.errors import DeadlineExceeded, LoadFailed, NotReady, NotServed, Stopping
from inference_service.lifecycle.policy import VersionState
from model_store.errors import CorruptBlob, IllegalState
from model_store.names import ModelName
from tests.inference_service.loops import on_a_loop
from tests.inference_service.managing import (
    FLOWERS,
    MODEL,
    PRODUCTION,
    ready,
    running,
    started,
    states,
    version,
    wanted,
)


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
