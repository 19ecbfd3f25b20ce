"""A call is answered whatever it sends and however long the error's text is, and none holds up another."""

from __future__ import annotations

import asyncio
import string
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import quote

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status
from hypothesis import given
from hypothesis import strategies as st
from maas.training.v1 import training_pb2 as pb

from grpc_runtime.errors import refusal
from grpc_runtime.handlers import CallLimits, Handlers
from grpc_runtime.messages import read_message
from grpc_runtime.server import GrpcServer
from grpc_runtime.settings import ServerSettings
from model_store.errors import InvalidInput, NotFound, Violation
from tests.inference_service.loops import on_a_loop

TIMEOUT = 10.0
INVALID, EXHAUSTED = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED
PRINTABLE = "".join(set(string.printable) - set(string.whitespace) - {"%"}) + " "
# A client that takes not one byte more; by default gRPC refuses some from 8 KiB on, and all from 16 KiB on.
STRICT = [("grpc.max_metadata_size", 8192), ("grpc.absolute_max_metadata_size", 8192)]
LIMITS = CallLimits(max_calls=100, idle_seconds=TIMEOUT)


class Echo:
    """Four methods, one of each kind; each raises the error that it was given, once there is one."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.waiting = asyncio.Event()
        self.go_on = asyncio.Event()

    async def say(self, request: Timestamp, _context: object) -> Timestamp:
        """Give it back."""
        return self._checked(request)

    async def wait(self, request: Timestamp, _context: object) -> Timestamp:
        """Give it back once that is wanted."""
        self.waiting.set()
        await self.go_on.wait()
        return request

    async def tell(self, request: Timestamp, _context: object) -> AsyncIterator[Timestamp]:
        """Give it back in a stream."""
        yield self._checked(request)

    async def listen(self, requests: AsyncIterator[Timestamp], _context: object) -> Timestamp:
        """Give the last one back."""
        return self._checked([each async for each in requests][-1])

    async def talk(self, requests: AsyncIterator[Timestamp], _context: object) -> AsyncIterator[Timestamp]:
        """Give each back."""
        async for each in requests:
            yield self._checked(each)

    def _checked(self, request: Timestamp) -> Timestamp:
        if self.error is not None:
            raise self.error
        return request


@asynccontextmanager
async def echo(limits: CallLimits = LIMITS, **options: int) -> AsyncIterator[tuple[Echo, grpc.aio.Channel]]:
    """Serve the methods, and give their object and a channel."""
    service = Echo()
    kinds: dict[str, Any] = {
        "say": grpc.unary_unary_rpc_method_handler,
        "wait": grpc.unary_unary_rpc_method_handler,
        "tell": grpc.unary_stream_rpc_method_handler,
        "listen": grpc.stream_unary_rpc_method_handler,
        "talk": grpc.stream_stream_rpc_method_handler,
    }
    handlers = Handlers(limits)
    handlers.add_registered_method_handlers(
        "t.Echo",
        {
            name: kind(getattr(service, name), Timestamp.FromString, Timestamp.SerializeToString)
            for name, kind in kinds.items()
        },
    )
    server = grpc.aio.server(handlers=[handlers], options=[(f"grpc.{name}", value) for name, value in options.items()])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", STRICT) as channel:
            yield service, channel
    finally:
        await server.stop(None)


async def send(channel: grpc.aio.Channel, method: str, *messages: bytes) -> tuple[grpc.StatusCode, str]:
    """Send bytes, and return what the call ends with."""
    call = await ended(channel, method, *messages)
    return await call.code(), await call.details()


async def ended(channel: grpc.aio.Channel, method: str, *messages: bytes) -> grpc.aio.StreamStreamCall:
    """Send bytes, and return the call once it has ended."""
    call = channel.stream_stream(f"/t.Echo/{method}")(iter(messages), timeout=TIMEOUT)
    with suppress(grpc.aio.AioRpcError):
        async for _ in call:
            pass
    return call


METHODS = pytest.mark.parametrize("method", ["say", "tell", "listen", "talk"])


@METHODS
@on_a_loop
async def test_bytes_that_are_no_message_are_the_callers_mistake(method: str, caplog: pytest.LogCaptureFixture) -> None:
    """And nothing is logged: a caller could fill the disk."""
    async with echo() as (_, channel):
        code, text = await send(channel, method, b"\xff\xff\xff")
        assert (code, text.partition(":")[0]) == (INVALID, "request")
        assert await send(channel, method, Timestamp(seconds=1).SerializeToString()) == (grpc.StatusCode.OK, "")
    assert [each for each in caplog.records if each.name != "asyncio"] == []


@pytest.mark.parametrize("method", ["say", "tell"])
@on_a_loop
async def test_a_call_without_its_message_is_answered(method: str) -> None:
    """At once, not at its deadline."""
    async with echo() as (_, channel):
        code, text = await send(channel, method)
        assert (code, text) == (INVALID, "request: is missing: the call has ended without a message")


@METHODS
@on_a_loop
async def test_a_message_over_the_limit_is_refused_as_that(method: str) -> None:
    """By gRPC itself."""
    async with echo(max_receive_message_length=100) as (_, channel):
        code, text = await send(channel, method, bytes(200))
        assert (code, "larger than max" in text) == (EXHAUSTED, True)


LONG_ERRORS = {
    "cyrillic": NotFound("model " + "ж" * 100_000 + " is gone: publish it"),
    "percent": NotFound("%" * 100_000),
    "lines": NotFound("\n" * 100_000),
    "many": InvalidInput(*[Violation(f"labels[{n}]{'ж' * n}", "must not be " + "\U0001f600" * n) for n in range(500)]),
    "long": InvalidInput.of("x" * 100_000, "y" * 100_000),
    "surrogate": InvalidInput.of("name", "has a lone surrogate: \udc80"),
}


@METHODS
@pytest.mark.parametrize("error", LONG_ERRORS.values(), ids=LONG_ERRORS)
@on_a_loop
async def test_every_refusal_reaches_its_caller(method: str, error: Exception) -> None:
    """With its details, also a client that takes no more than 8 KiB of metadata."""
    async with echo() as (service, channel):
        service.error = error
        call = await ended(channel, method, b"")
        assert await call.code() is refusal(error, {}, "").code, await call.details()
        if isinstance(error, InvalidInput):
            status = await rpc_status.aio.from_call(call)
            bad_request = error_details_pb2.BadRequest()
            assert status.details[0].Unpack(bad_request)
            assert bad_request.field_violations


def test_of_a_long_text_beginning_and_end_are_told() -> None:
    """They name the resource, and say what to do."""
    text = refusal(LONG_ERRORS["cyrillic"], {}, "").text
    assert text.startswith("model жжж")
    assert text.endswith("жжж is gone: publish it")
    assert refusal(NotFound("ж" * 300), {}, "").text == "ж" * 300


@given(st.text(), st.integers(0, 2000), st.lists(st.tuples(st.text(), st.text(), st.integers(1, 500)), max_size=3))
def test_any_text_fits(text: str, times: int, fields: list[tuple[str, str, int]]) -> None:
    """Percent-encoded, and with its details in base64; what is short is told whole."""
    given = [Violation(field * number, description * number) for field, description, number in fields]
    for error in (NotFound(text * times), InvalidInput(Violation("name", text * times), *given)):
        told = refusal(error, {}, "")
        size = len(quote(told.text, safe=PRINTABLE)) + sum(len(b64encode(value)) for _, value in told.trailing_metadata)
        assert size < 7000
        if len(quote(str(error), safe=PRINTABLE)) <= 2000:
            assert told.text == str(error)


TIMES = [
    (pb.TrainingJob(deadline=Timestamp(seconds=2**60)), "deadline"),
    (pb.TrainingJob(deadline=Timestamp(nanos=-1)), "deadline"),
    (pb.TrainingJob(deadline=Timestamp(nanos=10**9)), "deadline"),
    (pb.TrainingJob(promote=pb.Promote(shadow_for=Duration(seconds=-1))), "promote.shadow_for"),
    (pb.TrainingJob(promote=pb.Promote(shadow_for=Duration(seconds=1, nanos=-1))), "promote.shadow_for"),
    (pb.TrainingJob(promote=pb.Promote(shadow_for=Duration(seconds=2**60))), "promote.shadow_for"),
    (
        pb.ListTrainingJobsResponse(training_jobs=[pb.TrainingJob(), pb.TrainingJob(create_time=Timestamp(nanos=-5))]),
        "training_jobs[1].create_time",
    ),
]


@pytest.mark.parametrize(("message", "place"), TIMES)
def test_times_that_are_none_are_refused(message: Any, place: str) -> None:
    """Wherever they stand in a request; the refusal names the place."""
    with pytest.raises(InvalidInput) as caught:
        read_message(type(message).FromString, message.SerializeToString())
    assert [each.field for each in caught.value.violations] == [place]


def test_times_at_their_ends_are_taken() -> None:
    """The years 1 to 9999, and no time at all."""
    for seconds in (-62_135_596_800, 253_402_300_799):
        job = pb.TrainingJob(deadline=Timestamp(seconds=seconds), promote=pb.Promote(shadow_for=Duration()))
        assert read_message(pb.TrainingJob.FromString, job.SerializeToString()) == job


@on_a_loop
async def test_calls_beyond_the_limit_are_refused() -> None:
    """At once, and until one of them has ended."""
    async with echo(CallLimits(max_calls=1, idle_seconds=TIMEOUT)) as (service, channel):
        waiting = asyncio.create_task(send(channel, "wait", b""))
        await service.waiting.wait()
        code, text = await send(channel, "say", b"")
        assert (code, text) == (EXHAUSTED, "the service has 1 calls already: try again later")
        service.go_on.set()
        assert (await waiting)[0] is grpc.StatusCode.OK
        assert (await send(channel, "say", b""))[0] is grpc.StatusCode.OK


@on_a_loop
async def test_a_silent_upload_is_given_up() -> None:
    """Where the answer comes at its end; a stream that is answered on the way may rest."""
    async with echo(CallLimits(max_calls=100, idle_seconds=0.05)) as (_, channel):
        silent = asyncio.Event()

        async def messages() -> AsyncIterator[bytes]:
            yield b""
            await silent.wait()

        upload = channel.stream_unary("/t.Echo/listen")(messages(), timeout=TIMEOUT)
        talk = channel.stream_stream("/t.Echo/talk")(messages(), timeout=TIMEOUT)
        assert await talk.read() == b""
        assert await upload.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert await upload.details() == "nothing has come for 0.05 s: send it again, without such a pause"
        silent.set()
        assert await talk.code() is grpc.StatusCode.OK


@on_a_loop
async def test_connections_beyond_the_limit_are_closed() -> None:
    """At once, and until one of them has ended."""
    server = GrpcServer(ServerSettings(bind="127.0.0.1:0", max_connections=2), {})
    host, _, port = (await server.start()).rpartition(":")
    connections = [await asyncio.open_connection(host, int(port)) for _ in range(3)]
    heard = [await asyncio.wait_for(reader.read(1), TIMEOUT) for reader, _ in connections]
    assert heard.count(b"") == 1
    for _, writer in connections:
        writer.close()
    async with grpc.aio.insecure_channel(f"{host}:{port}") as channel:
        call = health_pb2_grpc.HealthStub(channel).Check
        answer = await call(health_pb2.HealthCheckRequest(), timeout=TIMEOUT, wait_for_ready=True)
        assert answer.status == health_pb2.HealthCheckResponse.NOT_SERVING
    await server.stop()


@on_a_loop
async def test_health_is_listed() -> None:
    """Of every service, and of the server."""
    server = GrpcServer(ServerSettings(bind="127.0.0.1:0"), {"t.Echo": lambda _: None})
    address = await server.start()
    await server.set_serving(True)
    async with grpc.aio.insecure_channel(address) as channel:
        answer = await health_pb2_grpc.HealthStub(channel).List(health_pb2.HealthListRequest(), timeout=TIMEOUT)
    await server.stop()
    serving = health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)
    assert dict(answer.statuses) == {"": serving, "t.Echo": serving}
