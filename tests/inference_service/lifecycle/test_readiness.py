"""When the service is ready, and how updates and watches go on."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from inference_service.desired.desired_versions import WantedModel
from inference_service.errors import NotReady, NotServed
from inference_service.lifecycle.policy import VersionState
from model_store.errors import CorruptBlob
from model_store.names import ModelName, VersionName
from tests.inference_service.loops import on_a_loop
from tests.inference_service.managing import Setup, running, version, wanted

DAMAGED = CorruptBlob("blob abc is corrupt")


def is_ready(setup: Setup) -> bool:
    """Say what health and ServerReady say."""
    readiness = setup.manager.readiness
    assert readiness.ready.is_set() != readiness.not_ready.is_set()
    return readiness.ready.is_set()


@on_a_loop
async def test_the_service_is_not_ready_while_every_wanted_version_failed() -> None:
    """Not when they were tried: the report says which name is not answered, and why, until it is."""
    async with running() as setup:
        setup.broken |= {version(1): DAMAGED, version(2): DAMAGED}
        setup.manager.update(wanted(1, 2, production=2, canary=1))
        await setup.manager.readiness.first_pass.wait()
        assert not is_ready(setup)
        assert setup.manager.report("flowers").obstacle == (
            "nothing answers to models/flowers/aliases/production: models/flowers/versions/2 could not be loaded and "
            "is tried again: blob abc is corrupt"
        )
        setup.broken.clear()
        await asyncio.wait_for(setup.manager.readiness.ready.wait(), 10)
        await setup.until_state(1, VersionState.READY)
        await setup.until_state(2, VersionState.READY)
        assert setup.manager.report("flowers").obstacle == ""


@on_a_loop
async def test_what_fails_beside_what_answers_is_told_and_the_service_is_ready() -> None:
    """Of one model, and of several."""
    async with running() as setup:
        setup.broken[version(2)] = DAMAGED
        setup.manager.update(wanted(1, 2, production=2, canary=1))
        await asyncio.wait_for(setup.manager.readiness.ready.wait(), 10)
        assert "nothing answers to models/flowers/aliases/production" in setup.manager.report("flowers").obstacle
    async with running() as setup:
        setup.broken[version(1)] = DAMAGED
        other = WantedModel("birds", {VersionName("birds", 1): "digest 1"})
        setup.manager.update([*wanted(1), other])
        await asyncio.wait_for(setup.manager.readiness.ready.wait(), 10)
        assert "nothing answers to models/flowers:" in setup.manager.report("flowers").obstacle
        assert setup.manager.report("birds").obstacle == ""


@on_a_loop
async def test_nothing_that_is_wanted_is_enough_to_be_ready() -> None:
    """At the start, and where what failed is wanted no more."""
    async with running() as setup:
        setup.manager.update([])
        await asyncio.wait_for(setup.manager.readiness.ready.wait(), 10)
    async with running() as setup:
        setup.broken[version(1)] = DAMAGED
        setup.manager.update(wanted(1))
        await setup.manager.readiness.first_pass.wait()
        assert not is_ready(setup)
        setup.manager.update(wanted())
        await asyncio.wait_for(setup.manager.readiness.ready.wait(), 10)


@on_a_loop
async def test_the_service_ceases_to_be_ready_once_all_that_is_wanted_has_failed() -> None:
    """Not while a version before goes on answering, nor while the next one is being loaded."""
    async with running() as setup:
        setup.broken |= {version(2): DAMAGED, version(3): DAMAGED}
        setup.manager.update(wanted(1))
        await asyncio.wait_for(setup.manager.readiness.ready.wait(), 10)
        setup.manager.update(wanted(2, production=2))
        await setup.until_state(2, VersionState.FAILED)
        assert is_ready(setup)
        assert setup.answers(ModelName("flowers")) == version(1)
        setup.manager.update(wanted())
        await setup.until_state(1, VersionState.UNLOADED)
        setup.may_load.clear()
        setup.manager.update(wanted(3, production=3))
        await setup.until_state(3, VersionState.LOADING)
        assert is_ready(setup)
        setup.may_load.set()
        await asyncio.wait_for(setup.manager.readiness.not_ready.wait(), 10)
        assert not is_ready(setup)
        setup.broken.clear()
        await asyncio.wait_for(setup.manager.readiness.ready.wait(), 10)


@on_a_loop
async def test_a_pinned_version_that_fails_keeps_the_service_from_being_ready() -> None:
    """Though the names of its model are answered."""
    async with running() as setup:
        setup.broken[version(1)] = DAMAGED
        setup.manager.update([replace(wanted(1, 2, production=2)[0], pinned={version(1)})])
        await setup.manager.readiness.first_pass.wait()
        assert not is_ready(setup)
        assert "versions/1 is pinned" in setup.manager.report("flowers").obstacle


@on_a_loop
async def test_of_many_models_some_are_taken_over_a_turn() -> None:
    """Requests go in between; no name is refused before all are known, and the newest wish wins."""
    models = [
        WantedModel(f"model-{number}", {VersionName(f"model-{number}", 1): "digest 1"}, {"production": 1})
        for number in range(3000)
    ]
    async with running() as setup:
        setup.may_load.clear()
        setup.manager.update(models)
        setup.manager.update([WantedModel("model-2999", is_gone=True)])
        assert len(setup.manager.model_ids()) < 2999
        with pytest.raises(NotReady, match="starting"):
            setup.answers(ModelName("model-2998"))
        asked = asyncio.create_task(setup.answer(ModelName("model-2998")))
        while len(setup.manager.model_ids()) < 2999:  # noqa: ASYNC110  nobody announces it
            await asyncio.sleep(0)
        setup.may_load.set()
        assert await asked == VersionName("model-2998", 1)
        with pytest.raises(NotServed):
            await setup.answer(ModelName("model-2999"))


@on_a_loop
async def test_watches_end_when_they_are_closed() -> None:
    """Old ones and those that begin later, so that no caller holds up the end of the service."""
    async with running() as setup:
        watch = setup.manager.watch(None)
        waiting = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0)
        setup.manager.close_watches()
        for each in (waiting, anext(setup.manager.watch(None))):
            with pytest.raises(StopAsyncIteration):
                await each
