"""Requests on their way to an answer: which of them are refused before their examples are prepared."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import numpy as np
import pytest
from torch import nn

from inference_service.batching.device_threads import DeviceThreads
from inference_service.batching.queue_capacity import CostLimits
from inference_service.batching.queue_entry import Part
from inference_service.batching.scheduler import Scheduler
from inference_service.errors import DeadlineExceeded
from inference_service.execution.work import Answer, Output, Work
from inference_service.models.precision import Precision
from inference_service.models.resident import ResidentVersion, Stage, StageKey
from inference_service.pipeline.answering import Pipeline, Urgency
from inference_service.pipeline.decoder import Decoder
from inference_service.pipeline.examples import Examples
from inference_service.pipeline.shadow_traffic import ShadowTraffic
from model_store.modalities import Limits
from model_store.modalities.values.spec import OpenedValues, ValuesInputSpec
from model_store.names import VersionName
from model_store.tasks import Classification
from tests.inference_service.loops import on_a_loop

SCORES = frozenset({Output.SCORES})
EXAMPLE = np.zeros(3, np.float32)


@dataclass(frozen=True)
class CountingSpec(ValuesInputSpec):
    """Rows of numbers, which counts the examples that were opened."""

    opened: list[object] = field(default_factory=list, hash=False)

    def open(self, example: object, max_size: int) -> OpenedValues:
        """Count, and open."""
        self.opened.append(example)
        return super().open(example, max_size)


class Device:
    """Answers any rows; by its own clock each takes ten seconds. It keeps a batch while `free` is not set."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.free = threading.Event()
        self.free.set()
        self.busy = threading.Event()

    def run(self, parts: Sequence[Part[Work]], _: object = None) -> list[Answer]:
        self.busy.set()
        assert self.free.wait(10)
        self.seconds += 10.0 * sum(part.num_rows for part in parts)
        return [{Output.SCORES: np.ones((part.num_rows, 1), np.float32)} for part in parts]


class Setup:
    """A pipeline on such a device, and a version to ask."""

    def __init__(self, device_threads: DeviceThreads, decode_threads: ThreadPoolExecutor) -> None:
        self.device = Device()
        self.spec = CountingSpec(3)
        self.version = self.model("one")
        self.scheduler = Scheduler[Work, Answer](
            self.device.run, device_threads, {"values": CostLimits(4, 64)}, clock=lambda: self.device.seconds
        )
        decoder = Decoder(decode_threads, {"values": Limits(example=100, request=1000, batch_cost=4, queue_cost=64)})
        self.pipeline = Pipeline(self.scheduler, decoder, ShadowTraffic(self.scheduler, decoder))

    def model(self, model_id: str) -> ResidentVersion:
        stage = Stage(StageKey("mlp", "{}", "", "head", "digest"), Precision.FLOAT32, nn.Identity(), 0)
        return ResidentVersion(VersionName(model_id, 1), "mlp", 3, self.spec, Classification(("yes",)), (), stage)

    async def ask(self, num_examples: int = 1, seconds: float | None = None) -> Answer:
        urgency = Urgency(None if seconds is None else time.monotonic() + seconds)
        given = Examples([EXAMPLE] * num_examples, "examples[{}]".format)
        return await self.pipeline.answer(self.version, given, SCORES, urgency)

    async def occupy(self) -> asyncio.Task[Answer]:
        """Keep the device busy with one row until it is let free."""
        self.device.free.clear()
        self.device.busy.clear()
        task = asyncio.create_task(self.ask())
        assert await asyncio.to_thread(self.device.busy.wait, 10)
        return task


@asynccontextmanager
async def answering() -> AsyncIterator[Setup]:
    """Serve while the block runs."""
    with DeviceThreads(1) as device_threads, ThreadPoolExecutor(1) as decode_threads:
        setup = Setup(device_threads, decode_threads)
        serving = asyncio.create_task(setup.scheduler.run())
        try:
            yield setup
        finally:
            setup.device.free.set()
            serving.cancel()
            with suppress(asyncio.CancelledError):
                await serving


@on_a_loop
async def test_a_request_whose_deadline_is_hopeless_is_refused_before_it_is_prepared() -> None:
    """It ends as one that was late in the queue; one with time enough is prepared and answered."""
    async with answering() as setup:
        await setup.ask(num_examples=2)
        running = await setup.occupy()
        num_opened = len(setup.spec.opened)
        with pytest.raises(DeadlineExceeded, match="nearer than the device can answer"):
            await setup.ask(seconds=15.0)
        with pytest.raises(DeadlineExceeded):
            await setup.ask(num_examples=4, seconds=45.0)
        assert len(setup.spec.opened) == num_opened
        assert (setup.version.statistics.failed.count, setup.scheduler.counters.num_expired) == (2, 2)
        in_time = asyncio.create_task(setup.ask(seconds=45.0))
        setup.device.free.set()
        assert [len((await each)[Output.SCORES]) for each in (running, in_time)] == [1, 1]
        assert len(setup.spec.opened) == num_opened + 1
