"""The manager keeps what is loaded equal to what is wanted."""

from __future__ import annotations

import asyncio

import pytest

from inference_service.backoff import Backoff
from inference_service.errors import DeviceFailed, LoadFailed, NotReady, NotServed
from inference_service.lifecycle.policy import VersionState
from inference_service.lifecycle.served_model import ModelReport
from model_store.errors import CorruptBlob
from model_store.names import AliasName, ModelName
from tests.inference_service.loops import on_a_loop
from tests.inference_service.managing import FLOWERS, PRODUCTION, running, states, version, wanted


@on_a_loop
async def test_what_is_wanted_is_loaded_and_answers_to_its_names() -> None:
    """By number, by alias, and by the model's own name, which means the alias production."""
    async with running() as setup:
        setup.manager.update(wanted(1, 2, 3, production=1, canary=2))
        await setup.manager.readiness.first_pass.wait()
        assert setup.answers() == version(1)
        assert setup.answers(FLOWERS) == version(1)
        assert setup.answers(AliasName("flowers", "canary")) == version(2)
        assert setup.answers(version(3)) == version(3)


@on_a_loop
async def test_without_an_alias_the_newest_ready_version_answers() -> None:
    """A newer one takes over when it is ready, and not before."""
    async with running() as setup:
        setup.manager.update(wanted(1))
        await setup.until_state(1, VersionState.READY)
        setup.may_load.clear()
        setup.manager.update(wanted(2))
        await setup.until_state(2, VersionState.LOADING)
        assert setup.answers(FLOWERS) == version(1)
        setup.may_load.set()
        await setup.until_state(1, VersionState.UNLOADED)
        assert setup.answers(FLOWERS) == version(2)


@on_a_loop
async def test_an_alias_moves_only_to_a_ready_version() -> None:
    """While the new one loads, the old one answers and the report shows both."""
    async with running() as setup:
        setup.manager.update(wanted(1, production=1))
        await setup.until_state(1, VersionState.READY)
        setup.may_load.clear()
        setup.manager.update(wanted(2, production=2))
        report = await setup.until_state(2, VersionState.LOADING)
        assert [(each.version, each.wanted_version) for each in report.aliases] == [(version(1), version(2))]
        assert setup.answers() == version(1)
        with pytest.raises(NotReady, match="versions/2 is still loading"):
            setup.answers(version(2))
        setup.may_load.set()
        report = await setup.until_state(1, VersionState.UNLOADED)
        assert [(each.version, each.wanted_version) for each in report.aliases] == [(version(2), version(2))]
        assert setup.answers() == version(2)


@on_a_loop
async def test_a_new_production_alias_does_not_leave_a_gap() -> None:
    """The model's own name is answered by the newest version until the one that production names is ready."""
    async with running() as setup:
        setup.manager.update(wanted(2))
        await setup.until_state(2, VersionState.READY)
        setup.may_load.clear()
        setup.manager.update(wanted(1, 2, production=1))
        await setup.until_state(1, VersionState.LOADING)
        assert setup.answers(FLOWERS) == version(2)
        setup.may_load.set()
        await setup.until_state(1, VersionState.READY)
        assert setup.answers(FLOWERS) == version(1)


@on_a_loop
async def test_a_failed_load_leaves_the_old_version_and_is_tried_again() -> None:
    """The report has the reason; once the cause is gone, the next try succeeds and the alias moves."""
    async with running() as setup:
        setup.manager.update(wanted(1, production=1))
        await setup.until_state(1, VersionState.READY)
        setup.broken[version(2)] = CorruptBlob("blob abc is corrupt")
        setup.manager.update(wanted(2, production=2))
        report = await setup.until_state(2, VersionState.FAILED)
        assert report.versions[0].reason == "blob abc is corrupt"
        assert setup.answers() == version(1)
        with pytest.raises(LoadFailed, match="blob abc is corrupt"):
            setup.answers(version(2))
        await setup.until(lambda _: setup.loaded.count(version(2)) >= 3)
        setup.broken.clear()
        await setup.until_state(2, VersionState.READY)
        assert setup.answers() == version(2)


@on_a_loop
async def test_an_unexpected_fault_is_a_failed_load_without_its_text() -> None:
    """Callers learn its kind; the rest is for the log."""
    async with running() as setup:
        setup.broken[version(1)] = KeyError("secret")
        setup.manager.update(wanted(1))
        report = await setup.until_state(1, VersionState.FAILED)
        assert report.versions[0].reason == "internal error (KeyError): the service's log has the rest"


@on_a_loop
async def test_a_lease_keeps_a_version_until_it_ends() -> None:
    """The version drains: it takes no new lease, and is unloaded when the last one ends."""
    async with running() as setup:
        setup.manager.update(wanted(1, production=1))
        await setup.until_state(1, VersionState.READY)
        with setup.manager.lease(PRODUCTION) as held:
            setup.manager.update(wanted(2, production=2))
            await setup.until_state(1, VersionState.DRAINING)
            assert held.name == version(1)
            assert setup.answers() == version(2)
            with pytest.raises(NotServed):
                setup.answers(version(1))
        await setup.until_state(1, VersionState.UNLOADED)


@on_a_loop
async def test_a_version_wanted_again_while_it_drains_is_not_loaded_twice() -> None:
    """A roll back in time costs nothing, though another version is loading."""
    async with running() as setup:
        setup.manager.update(wanted(1, production=1))
        await setup.until_state(1, VersionState.READY)
        with setup.manager.lease(PRODUCTION):
            setup.manager.update(wanted(2, production=2))
            await setup.until_state(1, VersionState.DRAINING)
            setup.may_load.clear()
            setup.manager.update(wanted(1, 3, production=1))
            await setup.until_state(1, VersionState.READY)
            assert setup.answers() == version(1)
        setup.may_load.set()
        await setup.until_state(3, VersionState.READY)
        assert setup.loaded == [version(1), version(2), version(3)]
        assert setup.answers() == version(1)


@on_a_loop
async def test_a_version_wanted_again_after_it_went_is_loaded_again() -> None:
    """Unloaded is not for ever."""
    async with running() as setup:
        setup.manager.update(wanted(1, production=1))
        await setup.until_state(1, VersionState.READY)
        setup.manager.update(wanted(2, production=2))
        await setup.until_state(1, VersionState.UNLOADED)
        setup.manager.update(wanted(1, production=1))
        await setup.until_state(1, VersionState.READY)
        assert setup.loaded == [version(1), version(2), version(1)]


@on_a_loop
async def test_the_drain_deadline_ends_the_wait() -> None:
    """A request that holds on longer keeps what it has, and its end changes nothing."""
    async with running(drain_deadline_seconds=0.01) as setup:
        setup.manager.update(wanted(1, production=1))
        await setup.until_state(1, VersionState.READY)
        with setup.manager.lease(PRODUCTION) as held:
            setup.manager.update(wanted(2, production=2))
            await setup.until_state(1, VersionState.UNLOADED)
            assert held.name == version(1)
        assert setup.answers() == version(2)


@on_a_loop
async def test_names_that_are_not_served_say_so() -> None:
    """Before the registry was read that is no verdict: then the caller shall come again."""
    async with running() as setup:
        with pytest.raises(NotReady, match="starting"):
            setup.answers(FLOWERS)
        setup.manager.update(wanted(1, production=1))
        await setup.manager.readiness.first_pass.wait()
        for name in (ModelName("birds"), AliasName("flowers", "canary"), version(9)):
            with pytest.raises(NotServed, match=str(name)):
                setup.answers(name)


@on_a_loop
async def test_a_model_that_is_gone_is_forgotten_after_its_watchers_know() -> None:
    """They get one last report without versions."""
    async with running() as setup:
        setup.manager.update(wanted(1, production=1))
        await setup.until_state(1, VersionState.READY)
        watch = setup.manager.watch("flowers")
        assert states(await anext(watch)) == [(version(1), VersionState.READY)]
        setup.manager.update(wanted())
        while states(last := await anext(watch)):
            pass
        assert last == ModelReport("flowers")
        assert setup.manager.model_ids() == []
        with pytest.raises(NotServed):
            setup.manager.report("flowers")
        await watch.aclose()


@on_a_loop
async def test_many_swaps_leave_few_traces() -> None:
    """Only the last unloaded versions are remembered."""
    async with running() as setup:
        for number in range(1, 11):
            setup.manager.update(wanted(number, production=number))
            await setup.until(lambda report, number=number: report.default_version == version(number))
        report = await setup.until_state(9, VersionState.UNLOADED)
        assert [name.number for name, _ in states(report)] == [10, 9, 8, 7]


@on_a_loop
async def test_a_model_is_not_forgotten_while_a_request_holds_it() -> None:
    """Though nothing of it is wanted and much of it went before."""
    async with running() as setup:
        for number in range(1, 6):
            setup.manager.update(wanted(number, production=number))
            await setup.until(lambda report, number=number: report.default_version == version(number))
        await setup.until_state(4, VersionState.UNLOADED)
        with setup.manager.lease(PRODUCTION):
            setup.manager.update(wanted())
            await setup.until_state(5, VersionState.DRAINING)
        await setup.until(lambda report: not report.versions)


@on_a_loop
async def test_an_unwanted_version_that_never_loaded_is_dropped() -> None:
    """One that failed is not tried for ever once nobody wants it."""
    async with running() as setup:
        setup.broken[version(1)] = CorruptBlob("damaged")
        setup.manager.update(wanted(1, production=1))
        await setup.until_state(1, VersionState.FAILED)
        setup.manager.update(wanted(2, production=2))
        await setup.until_state(1, VersionState.UNLOADED)
        await setup.until_state(2, VersionState.READY)
        assert setup.answers() == version(2)


@pytest.mark.parametrize("seconds", [0.0004, 0.0104, 1 / 128])
@on_a_loop
async def test_a_failed_load_is_tried_again_whatever_the_clock_of_the_loop(seconds: float) -> None:
    """One whose timers tick in whole milliseconds ends them before the version is due."""
    async with running(backoff=Backoff(seconds, seconds)) as setup:
        setup.broken[version(1)] = CorruptBlob("damaged")
        setup.manager.update(wanted(1))
        await setup.until(lambda _: len(setup.loaded) > 20)
        setup.broken.clear()
        await setup.until_state(1, VersionState.READY)


@on_a_loop
async def test_a_device_that_fails_in_a_load_ends_the_manager() -> None:
    """As it does in a batch: no other version can be loaded either, and the service has to start anew."""
    async with running() as setup:
        setup.broken[version(1)] = DeviceFailed("gone")
        setup.manager.update(wanted(1))
        with pytest.raises(DeviceFailed, match="gone"):
            await asyncio.wait_for(setup.acting, 10)
