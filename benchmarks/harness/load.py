"""Sends requests from a process of its own, and tells what came back.

`python -m benchmarks.harness.load` reads a Plan as JSON from standard input and prints a Result as JSON. Client and
service share the cores, so the client is lean: requests are bytes that were serialised once, and answers stay bytes
unless the plan asks which version gave them.
"""

from __future__ import annotations

import asyncio
import gc
import json
import math
import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import grpc

from grpc_runtime.child_process import command_of

_PATIENCE_SECONDS = 10.0
_REQUEST_ID = re.compile(r" \(request id \w+\)")
INFER = "/inference.GRPCInferenceService/ModelInfer"


@dataclass(frozen=True)
class Plan:
    """What to send: in turn each of `heads`, the hex of a message's first fields, with the bytes of file `body` behind.

    Either `in_flight` requests at any time, or `rate` requests a second at random moments, the same in every run. With
    `keeps_answers` the versions that answered are told, each with when its request began and ended.

    Measured is from the first answer after `warm_seconds` to the first one at least `seconds` later: answers come in
    bursts, one a batch, and a window that cuts bursts would count one more or less.
    """

    address: str
    body: str
    heads: tuple[str, ...]
    seconds: float
    in_flight: int = 0
    rate: float = 0.0
    warm_seconds: float = 1.0
    deadline_seconds: float | None = None
    method: str = INFER
    keeps_answers: bool = False


@dataclass(frozen=True)
class Result:
    """What came back: of the measured time answers a second and their milliseconds, all else of the whole run.

    Milliseconds count from when the request should have been sent. `errors` are counted by code and text. `answers` are
    (began, ended, version) by time.monotonic, which all processes share.
    """

    rate: float
    p50_ms: float
    p99_ms: float
    errors: dict[str, int]
    num_answered: int
    answers: tuple[tuple[float, float, str], ...]

    @property
    def num_errors(self) -> int:
        """Requests that failed."""
        return sum(self.errors.values())


def load(plan: Plan) -> Result:
    """Carry a plan out in a process of its own; raise CalledProcessError where that fails."""
    command = command_of("benchmarks.harness.load")
    done = subprocess.run(command, input=json.dumps(asdict(plan)), stdout=subprocess.PIPE, text=True, check=True)
    return Result(**json.loads(done.stdout))


class _Client:
    """Sends requests and keeps when each began and ended."""

    def __init__(self, plan: Plan, channel: grpc.aio.Channel) -> None:
        body = Path(plan.body).read_bytes()
        self._plan = plan
        self._requests = [bytes.fromhex(head) + body for head in plan.heads]
        self._call: Any = channel.unary_unary(
            plan.method, response_deserializer=_version_reader() if plan.keeps_answers else None
        )
        self._num_sent = 0
        self._answers: list[tuple[float, float, Any]] = []  # the version, or bytes that nobody reads
        self._errors: list[str] = []
        self._warm_at = time.monotonic() + plan.warm_seconds
        self._start = self._end = math.inf

    async def run(self) -> Result:
        """Send all; raise TimeoutError where a request is neither answered nor refused."""
        longest = self._plan.warm_seconds + self._plan.seconds + _PATIENCE_SECONDS
        asyncio.get_running_loop().call_later(longest, self._give_up)
        async with asyncio.timeout(longest + _PATIENCE_SECONDS), asyncio.TaskGroup() as sending:
            if self._plan.in_flight:
                for _ in range(self._plan.in_flight):
                    sending.create_task(self._send_on())
            else:
                await self._send_at_rate(sending)
        return self._result()

    async def _send_on(self) -> None:
        while self._end == math.inf:
            await self._send(time.monotonic())

    async def _send_at_rate(self, sending: asyncio.TaskGroup) -> None:
        moments, at = random.Random(0), time.monotonic()
        while self._end == math.inf:
            at += moments.expovariate(self._plan.rate)
            await asyncio.sleep(at - time.monotonic())
            sending.create_task(self._send(at))

    async def _send(self, due: float) -> None:
        request = self._requests[self._num_sent % len(self._requests)]
        self._num_sent += 1
        try:
            answer = await self._call(request, timeout=self._plan.deadline_seconds)
        except grpc.aio.AioRpcError as error:
            self._errors.append(f"{error.code().name}: {_REQUEST_ID.sub('', error.details() or '')}")
        else:
            ended = time.monotonic()
            self._answers.append((due, ended, answer))
            self._measure(ended)

    def _measure(self, ended: float) -> None:
        """Begin and end the measured window with an answer."""
        if self._start == math.inf and ended >= self._warm_at:
            self._start = ended
        elif self._end == math.inf and ended >= self._start + self._plan.seconds:
            self._end = ended

    def _give_up(self) -> None:
        """End the measured window where hardly anything is answered."""
        if self._end == math.inf:
            self._start, self._end = min(self._start, self._warm_at), time.monotonic()

    def _result(self) -> Result:
        start, end = self._start, self._end
        answers = [each for each in self._answers if start <= each[1] < end]
        taken = sorted(ended - due for due, ended, _ in answers) or [math.nan]
        return Result(
            rate=len(answers) / (end - start),
            p50_ms=taken[len(taken) // 2] * 1000,
            p99_ms=taken[int(len(taken) * 0.99)] * 1000,
            errors=dict(Counter(self._errors)),
            num_answered=len(self._answers),
            answers=tuple(self._answers) if self._plan.keeps_answers else (),
        )


def _version_reader() -> Callable[[bytes], str]:
    from maas.open_inference.v2 import open_inference_pb2 as pb  # noqa: PLC0415  seldom needed

    return lambda answer: str(pb.ModelInferResponse.FromString(answer).model_version)


async def _main() -> None:
    plan = Plan(**json.loads(sys.stdin.read()))
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    async with grpc.aio.insecure_channel(plan.address, options=options) as channel:
        client = _Client(plan, channel)
        gc.freeze()
        result = await client.run()
    print(json.dumps(asdict(result)))


def runner() -> Callable[..., None]:
    """Return what runs a coroutine: uvloop where it is installed."""
    try:
        import uvloop  # noqa: PLC0415
    except ImportError:
        return asyncio.run
    return uvloop.run


if __name__ == "__main__":
    runner()(_main())
