"""ModelStreamInfer: side by side, in order, and on after a request that fails."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path

import grpc
import numpy as np
import pytest
from maas.open_inference.v2 import open_inference_pb2 as pb

from inference_service.batching.queue_entry import Part
from inference_service.errors import NotReady
from inference_service.open_inference.streams import Streams
from tests.inference_service.inferring import OpenService, Parameter, arrays, ask_numbers, request, rows, serving_models
from tests.inference_service.loops import on_a_loop
from tests.inference_service.running import refused, until


class Asking:
    """The requests of a stream that the test sends one by one; leave it by `end`."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[pb.ModelInferRequest | None] = queue.SimpleQueue()

    def send(self, *requests: pb.ModelInferRequest) -> None:
        for each in requests:
            self._queue.put(each)

    def end(self) -> None:
        self._queue.put(None)

    def __iter__(self) -> Iterator[pb.ModelInferRequest]:
        return iter(self._queue.get, None)


def asked(number: int, num_rows: int = 1, **more: object) -> pb.ModelInferRequest:
    """Ask the model of numbers for rows that go with the number."""
    return ask_numbers(rows(num_rows, seed=number), id=str(number), **more)


def test_a_stream_answers_as_single_requests_do(service: OpenService) -> None:
    """In the order of the requests, though they are of other sizes and models."""
    requests = [asked(number, 1 + number % 3) for number in range(100)]
    answers = list(service.stub.ModelStreamInfer(iter(requests), timeout=20))
    assert [each.infer_response.id for each in answers] == [each.id for each in requests]
    assert not any(each.error_message for each in answers)
    for each, one in list(zip(answers, requests, strict=True))[::10]:
        single = service.stub.ModelInfer(one)
        for name, values in arrays(single).items():
            np.testing.assert_allclose(arrays(each.infer_response)[name], values, atol=1e-6)


def test_a_failed_request_is_told_in_its_turn_and_the_stream_goes_on(service: OpenService) -> None:
    """With its id, its code and the text that it would have had alone."""
    wrong = [request("cars", id="no model"), asked(2, model_name="numbers", model_version="7"), asked(3, 1)]
    wrong[2].raw_input_contents[0] = b"too short"
    answers = list(service.stub.ModelStreamInfer(iter([asked(1), *wrong, asked(4)]), timeout=20))
    assert [each.infer_response.id for each in answers] == ["1", "no model", "2", "3", "4"]
    texts = [each.error_message for each in answers]
    assert (texts[0], texts[4]) == ("", "")
    assert texts[1].startswith("NOT_FOUND: models/cars is not served here")
    assert texts[2].startswith("NOT_FOUND: models/numbers/versions/7")
    assert texts[3] == "INVALID_ARGUMENT: inputs[0]: INPUT must have 24 raw bytes for 1 x 6 of FP32, not 9"
    assert not any(each.infer_response.outputs for each in answers[1:4])


def test_a_fault_is_told_by_a_request_id_alone(service: OpenService, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of its text gets out."""

    def broken(_: list[Part[object]]) -> list[object]:
        raise ZeroDivisionError("secret")

    with monkeypatch.context() as patched:
        patched.setattr(service.running.server._scheduler._runner, "_run_batch", broken)
        (answer,) = service.stub.ModelStreamInfer(iter([asked(1)]), timeout=20)
    assert answer.error_message.startswith("INTERNAL: internal error (request id ")
    assert "secret" not in answer.error_message
    assert service.stub.ModelInfer(asked(1)).outputs


def test_requests_of_a_stream_run_in_one_batch(service: OpenService) -> None:
    """What waits when the device is free runs together."""
    scheduler = service.running.server._scheduler
    stream = Asking()
    with service.busy_device():
        answers = service.stub.ModelStreamInfer(iter(stream), timeout=20)
        stream.send(asked(0))
        until(lambda: scheduler.snapshot().num_running_batches == 1)
        before = scheduler.counters.num_batches
        stream.send(*map(asked, range(1, 6)))
        until(lambda: scheduler.snapshot().waiting_cost == 5)
    assert [next(answers).infer_response.id for _ in range(6)] == [str(number) for number in range(6)]
    assert scheduler.counters.num_batches == before + 2
    stream.end()
    assert list(answers) == []


def test_a_timeout_is_told_while_the_stream_goes_on(service: OpenService) -> None:
    """Each request has its own."""
    stream = Asking()
    with service.busy_device():
        answers = service.stub.ModelStreamInfer(iter(stream), timeout=20)
        stream.send(asked(1, parameters={"timeout": Parameter(int64_param=1000)}))
        assert next(answers).error_message.startswith("DEADLINE_EXCEEDED: ")
        stream.send(asked(2))
    assert next(answers).infer_response.id == "2"
    stream.end()


def test_the_final_response_is_marked_where_that_is_asked(service: OpenService) -> None:
    """Every response is the only one of its request; no empty one follows."""
    wants = {"triton_enable_empty_final_response": Parameter(bool_param=True)}
    marked, plain = service.stub.ModelStreamInfer(iter([asked(1, parameters=wants), asked(2)]), timeout=20)
    assert marked.infer_response.parameters["triton_final_response"].bool_param
    assert marked.infer_response.outputs
    assert not plain.infer_response.parameters


def test_a_stream_that_is_left_leaves_nothing_behind(service: OpenService) -> None:
    """Requests that have not reached the device never do, and their leases end."""
    scheduler = service.running.server._scheduler
    stream = Asking()
    with service.busy_device():
        answers = service.stub.ModelStreamInfer(iter(stream), timeout=20)
        stream.send(asked(0))
        until(lambda: scheduler.snapshot().num_running_batches == 1)
        stream.send(*map(asked, range(1, 6)))
        until(lambda: scheduler.snapshot().waiting_cost == 5)
        answers.cancel()
        until(lambda: scheduler.snapshot().waiting_cost == 0)
    stream.end()
    versions = service.running.server._manager._models.by_id["numbers"].versions.values()
    until(lambda: not any(each.num_leases for each in versions))


def test_a_stopping_service_answers_what_it_has_read(tmp_path: Path) -> None:
    """Then it ends the stream at once, with a code that says why; an idle stream does not hold it up."""
    with serving_models(tmp_path, drain_seconds=60.0) as service:
        stream, idle = Asking(), Asking()
        answers = service.stub.ModelStreamInfer(iter(stream), timeout=40)
        nothing = service.stub.ModelStreamInfer(iter(idle), timeout=40)
        stream.send(asked(1))
        assert next(answers).infer_response.id == "1"
        idle.send(asked(2))
        assert next(nothing).infer_response.id == "2"
        service.running.stop()
        for each in (answers, nothing):
            with refused(grpc.StatusCode.UNAVAILABLE, "the service is stopping"):
                next(each)
        stream.end()
        idle.end()


@on_a_loop
async def test_no_more_run_at_once_than_may() -> None:
    """Further requests are not even read, and come in when earlier answers were taken."""
    begun: list[int] = []
    free = asyncio.Event()

    async def requests() -> AsyncIterator[int]:
        for number in range(10):
            yield number

    async def answer(number: int) -> int:
        begun.append(number)
        await free.wait()
        return number

    async with aclosing(Streams(max_at_once=3).answered(requests(), answer)) as answers:
        first = asyncio.ensure_future(anext(answers))
        for _ in range(20):
            await asyncio.sleep(0)
        assert begun == [0, 1, 2]
        free.set()
        assert [await first, *[each async for each in answers]] == list(range(10))


@on_a_loop
async def test_answers_keep_their_order() -> None:
    """The first request is the slowest."""
    done = [asyncio.Event() for _ in range(4)]

    async def requests() -> AsyncIterator[int]:
        for number in range(4):
            yield number

    async def answer(number: int) -> int:
        if number < 3:
            await done[number + 1].wait()
        done[number].set()
        return number

    assert [each async for each in Streams(max_at_once=4).answered(requests(), answer)] == [0, 1, 2, 3]


@on_a_loop
async def test_what_breaks_the_requests_ends_the_stream() -> None:
    """After the answers of what came before."""

    async def requests() -> AsyncIterator[int]:
        yield 1
        raise ConnectionError

    async def answer(number: int) -> int:
        return number

    answers = Streams(max_at_once=4).answered(requests(), answer)
    assert await anext(answers) == 1
    with pytest.raises(ConnectionError):
        await anext(answers)


@on_a_loop
async def test_nothing_runs_on_behind_a_stream_that_was_left() -> None:
    """Its requests are cancelled, and so is the reading of further ones."""
    cancelled: list[int] = []
    began = asyncio.Event()

    async def requests() -> AsyncIterator[int]:
        yield 1
        yield 2
        await asyncio.Event().wait()

    async def answer(number: int) -> int:
        try:
            if number == 2:
                began.set()
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(number)
            raise
        return number

    answers = Streams(max_at_once=4).answered(requests(), answer)
    assert await anext(answers) == 1
    await began.wait()
    await answers.aclose()
    assert cancelled == [2]
    assert asyncio.all_tasks() == {asyncio.current_task()}


@on_a_loop
async def test_closed_streams_end_with_what_they_have() -> None:
    """Then they say why."""
    streams = Streams(max_at_once=4)
    free = asyncio.Event()

    async def requests() -> AsyncIterator[int]:
        yield 1
        await asyncio.Event().wait()

    async def answer(number: int) -> int:
        await free.wait()
        return number

    answers = streams.answered(requests(), answer)
    first = asyncio.ensure_future(anext(answers))
    for _ in range(10):
        await asyncio.sleep(0)
    streams.close()
    free.set()
    assert await first == 1
    with pytest.raises(NotReady, match="stopping"):
        await anext(answers)
