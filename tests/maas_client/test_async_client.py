"""The client for asyncio, against a real registry."""

from __future__ import annotations

import asyncio
import threading
from contextlib import aclosing

import pytest

from maas_client import AsyncClient, errors
from tests.maas_client.commands.publishing import publish
from tests.training_service.registry_running import RunningRegistry
from tests.training_service.running import until


def calling() -> list[threading.Thread]:
    """Return the threads that run calls."""
    return [each for each in threading.enumerate() if each.name == "maas-call"]


def test_methods_are_awaited_and_iterators_iterated(registry: RunningRegistry) -> None:
    """With the arguments and the answers of the plain client."""
    publish(registry)

    async def work() -> None:
        async with AsyncClient(registry.address) as client:
            assert [each.name async for each in client.models()] == ["models/flowers"]
            tagged, alias = await asyncio.gather(
                client.tag("flowers", {"team": "vision"}), client.set_alias("flowers", "production", 1)
            )
            assert (dict(tagged.tags), alias.version) == ({"team": "vision"}, "models/flowers/versions/1")
            assert (await client.version("flowers")).name == "models/flowers/versions/1"
            with pytest.raises(errors.NotFound):
                await client.version("none/1")

    asyncio.run(work())


def test_hundreds_of_calls_at_once(registry: RunningRegistry) -> None:
    """No pool limits them."""
    publish(registry)

    async def work() -> list[str]:
        async with AsyncClient(registry.address) as client:
            return [each.name for each in await asyncio.gather(*(client.model("flowers") for _ in range(300)))]

    assert asyncio.run(work()) == ["models/flowers"] * 300


def test_a_stream_that_is_left_is_cancelled(registry: RunningRegistry) -> None:
    """What comes next would never come: the call ends on the wire, and its thread with it."""
    publish(registry)

    async def work() -> None:
        async with AsyncClient(registry.address) as client:
            async with aclosing(client.changes(after_sequence=0)) as changes:
                assert (await anext(changes)).sequence == 1
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(client.changes()), 0.1)
            await asyncio.to_thread(until, lambda: not calling())

    asyncio.run(work())


def test_a_prediction_takes_no_thread_while_it_waits(registry: RunningRegistry) -> None:
    """The answer is awaited by the event loop; the error is the client's own."""

    async def work() -> None:
        async with AsyncClient(registry.address) as client:
            for call in (client.predict, client.embed):
                with pytest.raises(errors.Unimplemented):
                    await call("flowers", [[1.0]])
            assert calling() == []

    asyncio.run(work())
