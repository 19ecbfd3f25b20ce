"""The admission keeps calls out unread only where it may, and what passes it is read and answered as ever."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest

from grpc_runtime.handlers import CallLimits, Guard, Handlers
from inference_service.batching.admission_control import AdmissionControl
from inference_service.errors import DeadlineExceeded
from inference_service.server import CODES
from tests.inference_service.loops import on_a_loop

METHOD = "/t.Echo/Say"


class Flood:
    """Admission control of work that takes `wait` seconds, at the time `now`."""

    def __init__(self, wait: float) -> None:
        self.wait = wait
        self.now = 1000.0
        self.admission = AdmissionControl(lambda: self.wait, lambda: self.now)

    def num_kept_out(self, seconds_left: float | None, num_calls: int = 320) -> int:
        """Return how many of these calls were kept out."""
        num = 0
        for _ in range(num_calls):
            try:
                self.admission.check(seconds_left)
            except DeadlineExceeded:
                num += 1
        return num


def test_hopeless_calls_are_kept_out_but_for_a_few() -> None:
    """The few show whether something else is asked for by now."""
    flood = Flood(wait=1.0)
    flood.admission.note("flowers")
    assert flood.admission.is_guarded
    assert flood.num_kept_out(0.5) == 310
    assert flood.num_kept_out(1.5) == 0
    assert flood.num_kept_out(None) == 0


def test_a_short_queue_needs_no_guard() -> None:
    """Nothing is gained by keeping out what would have its turn a moment later."""
    assert not Flood(wait=0.01).admission.is_guarded


def test_another_kind_opens_the_door_for_a_minute() -> None:
    """It would have to wait for its own kind alone, so all calls are read."""
    flood = Flood(wait=1.0)
    flood.admission.note("flowers")
    flood.now += 100
    flood.admission.note("birds")
    assert not flood.admission.is_guarded
    flood.now += 59
    assert not flood.admission.is_guarded
    flood.admission.note("flowers")
    flood.now += 61
    flood.admission.note("flowers")
    assert flood.admission.is_guarded


@asynccontextmanager
async def echo(admission: AdmissionControl) -> AsyncIterator[tuple[grpc.aio.UnaryUnaryMultiCallable, list[bytes]]]:
    """Serve a method behind an admission control, and give the call and what the method has read."""
    read: list[bytes] = []

    async def say(request: bytes, _context: object) -> bytes:
        read.append(request)
        return request[:10]

    limits = CallLimits(max_calls=1000, idle_seconds=20)
    handlers = Handlers(limits, CODES, Guard(frozenset({METHOD}), lambda: admission.is_guarded, admission.check))
    handlers.add_registered_method_handlers("t.Echo", {"Say": grpc.unary_unary_rpc_method_handler(say)})
    server = grpc.aio.server(handlers=[handlers])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel.unary_unary(METHOD), read
    finally:
        await server.stop(None)


@on_a_loop
async def test_what_is_kept_out_is_not_read() -> None:
    """It is answered as one that was read and could not be in time."""
    flood = Flood(wait=30.0)
    async with echo(flood.admission) as (say, read):
        for _ in range(31):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await say(bytes(10**6), timeout=10)
            assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            assert "30.00 s that what came before" in str(caught.value.details())
        assert read == []
        assert await say(b"the thirty-second", timeout=10) == b"the thirty"
        assert len(read) == 1


@on_a_loop
async def test_what_passes_is_answered() -> None:
    """Guarded or not, a call with time enough is the same call."""
    flood = Flood(wait=1.0)
    async with echo(flood.admission) as (say, read):
        assert await say(b"x" * 10**6, timeout=10) == b"x" * 10
        assert await say(b"no deadline") == b"no deadlin"
        flood.wait = 0.0
        assert await say(b"no guard", timeout=0.5) == b"no guard"
    assert [len(each) for each in read] == [10**6, 11, 8]
