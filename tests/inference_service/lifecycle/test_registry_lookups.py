"""Versions of the registry that are not desired: looked up and loaded when a request names them."""

from __future__ import annotations

import asyncio

import pytest

from inference_service.desired.desired_versions import WantedModel
from inference_service.lifecycle.policy import VersionState
from model_store.errors import VersionNotFound
from model_store.names import ModelName
from tests.inference_service.loops import on_a_loop
from tests.inference_service.managing import BIRDS, FLOWERS, MODEL, PRODUCTION, ready, running, started, version, wanted


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
