"""How the requests of an alias are dealt out among its versions."""

from __future__ import annotations

from collections import Counter
from hashlib import blake2b

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_service.desired.desired_versions import WantedModel
from inference_service.lifecycle.policy import VersionState
from inference_service.lifecycle.traffic import Split, place
from model_store.errors import CorruptBlob
from model_store.names import AliasName
from model_store.records.aliases import Share, Traffic
from tests.inference_service.loops import on_a_loop
from tests.inference_service.managing import FLOWERS, PRODUCTION, Setup, ready, running, version

KEYS = [f"user {number}" for number in range(4000)]
percents = st.lists(st.floats(0.1, 33.0), min_size=1, max_size=3)


def split(*given_percents: float, shadow: Share | None = None) -> Split:
    """An alias of version 1 that gives versions 2, 3, … these shares."""
    canaries = tuple(Share(number, percent) for number, percent in enumerate(given_percents, 2))
    return Split(PRODUCTION, 1, Traffic(canaries, shadow))


def wanted(traffic: Traffic) -> list[WantedModel]:
    """Want three versions, of which production means the first and gives the others shares."""
    versions = {version(number): f"digest {number}" for number in (1, 2, 3)}
    return [WantedModel("flowers", versions, {"production": 1}, traffic={"production": traffic})]


async def dealt(setup: Setup, key: str = "", target: object = PRODUCTION) -> int:
    """Return the number of the version that answers a request with this key."""
    with await setup.manager.lease_when_ready(target, None, key) as resident:  # type: ignore[arg-type]
        return resident.name.number


def test_a_key_lies_where_the_proto_says() -> None:
    """So that a caller can tell who is in a canary."""
    digest = blake2b(b"models/flowers/aliases/production\0user 7").digest()
    assert place(PRODUCTION, "user 7") == int.from_bytes(digest[:8], "big") / 2**64 * 100
    assert place(AliasName("flowers", "stable"), "user 7") != place(PRODUCTION, "user 7")


@given(percents, st.text(min_size=1))
def test_a_key_is_dealt_alike_every_time(shares: list[float], key: str) -> None:
    """By every process, and by its place alone."""
    number = split(*shares).canary(key)
    assert number == split(*shares).canary(key)
    start = sum(shares[: number - 2]) if number is not None else sum(shares)
    assert place(PRODUCTION, key) >= start - 1e-9
    if number is not None:
        assert place(PRODUCTION, key) < start + shares[number - 2] + 1e-9


@given(st.floats(0.1, 50.0), st.floats(0.1, 50.0))
def test_raising_a_share_keeps_everybody_who_was_in_it(first: float, more: float) -> None:
    """Nobody goes back to the main version."""
    before, after = split(first), split(first + more)
    for key in KEYS[:300]:
        assert before.canary(key) is None or after.canary(key) == 2


@pytest.mark.parametrize("keys", [KEYS, [""] * 4000], ids=["by key", "by chance"])
def test_each_version_gets_its_share(keys: list[str]) -> None:
    """Of many keys, and of many requests without one."""
    found = Counter(split(10.0, 30.0).canary(key) for key in keys)
    assert {2, 3, None} == set(found)
    assert abs(found[2] - 400) < 100
    assert abs(found[3] - 1200) < 150


def test_a_shadow_gets_its_share_by_chance() -> None:
    """All of them, none, or so many."""
    assert {split(shadow=Share(5, 100.0)).shadow() for _ in range(100)} == {5}
    assert {split().shadow() for _ in range(100)} == {None}
    num_shadowed = sum(split(shadow=Share(5, 25.0)).shadow() == 5 for _ in range(4000))
    assert abs(num_shadowed - 1000) < 150


@on_a_loop
async def test_requests_are_dealt_out_by_key() -> None:
    """By the alias, and by the model's own name, which means it; not by number, nor without a key."""
    async with running() as setup:
        setup.manager.update(wanted(Traffic((Share(2, 30.0), Share(3, 20.0)))))
        await setup.manager.readiness.first_pass.wait()
        found = Counter([await dealt(setup, key) for key in KEYS[:500]])
        assert set(found) == {1, 2, 3}
        for key in KEYS[:50]:
            number = split(30.0, 20.0).canary(key) or 1
            assert [await dealt(setup, key), await dealt(setup, key, FLOWERS)] == [number, number]
            assert await dealt(setup, key, version(3)) == 3
        assert {setup.answers().number for _ in range(50)} == {1}
        with await setup.manager.lease_when_ready(PRODUCTION) as resident:
            assert resident.name == version(1)


@on_a_loop
async def test_the_main_version_answers_for_a_canary_that_is_not_ready() -> None:
    """While it loads, and where it failed."""
    async with running() as setup:
        setup.broken[version(2)] = CorruptBlob("damaged")
        setup.manager.update(wanted(Traffic((Share(2, 100.0),))))
        await setup.until_state(2, VersionState.FAILED)
        await setup.until_state(1, VersionState.READY)
        assert await dealt(setup, "anybody") == 1
        setup.broken.clear()
        await setup.until_state(2, VersionState.READY)
        assert await dealt(setup, "anybody") == 2


@on_a_loop
async def test_a_canary_that_was_evicted_comes_back_for_the_next_request() -> None:
    """The one that found it gone does not wait."""
    async with running(budget_bytes=20) as setup:
        setup.manager.update(wanted(Traffic((Share(2, 100.0),))))
        await setup.manager.readiness.first_pass.wait()
        assert await setup.answer(version(1)) == version(1)
        assert await setup.answer(version(3)) == version(3)
        assert ready(setup) == [1, 3]
        assert await dealt(setup, "anybody") == 1
        await setup.until_state(2, VersionState.READY)
        assert await dealt(setup, "anybody") == 2


@on_a_loop
async def test_a_share_that_ends_ends_at_once() -> None:
    """The next request is the main version's."""
    async with running() as setup:
        setup.manager.update(wanted(Traffic((Share(2, 100.0),))))
        await setup.manager.readiness.first_pass.wait()
        assert await dealt(setup) == 2
        setup.manager.update(wanted(Traffic()))
        assert await dealt(setup) == 1


@on_a_loop
async def test_a_shadow_is_compared_with_the_main_version_alone() -> None:
    """A request that a canary answers is not shadowed; nor is one where the shadow is not ready."""
    async with running() as setup:
        setup.manager.update(wanted(Traffic((Share(2, 50.0),), Share(3, 100.0))))
        await setup.manager.readiness.first_pass.wait()
        for key in KEYS[:50]:
            lease = await setup.manager.lease_when_ready(PRODUCTION, None, key)
            assert (lease.shadow is None) == (split(50.0).canary(key) == 2)
        setup.manager.update(wanted(Traffic((), Share(3, 100.0))))
        lease = await setup.manager.lease_when_ready(PRODUCTION, None, "")
        assert lease.shadow is not None
        shadow = lease.shadow.lease()
        assert shadow is not None
        with shadow as resident:
            assert resident.name == version(3)
        await setup.manager.unload_model("flowers")
        assert lease.shadow.lease() is None


@on_a_loop
async def test_counts_go_on_as_long_as_the_alias_stays_as_it_is() -> None:
    """Another share begins anew."""
    async with running() as setup:
        setup.manager.update(wanted(Traffic((), Share(3, 100.0))))
        await setup.manager.readiness.first_pass.wait()
        lease = await setup.manager.lease_when_ready(PRODUCTION, None, "")
        assert lease.shadow is not None
        lease.shadow.counts.num_failed = 7
        for percent, expected in ((100.0, 7), (50.0, 0)):
            setup.manager.update(wanted(Traffic((), Share(3, percent))))
            (alias,) = setup.manager.report("flowers").aliases
            assert alias.split is not None
            assert alias.split.counts.num_failed == expected
