"""However the scheduler ends, every request is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest

from inference_service.batching.device_threads import DeviceThreads
from inference_service.batching.queue_entry import Part
from inference_service.errors import DeviceFailed, Stopping
from tests.inference_service.batching.held_device import KIND, Letting, Range, Setup
from tests.inference_service.loops import on_a_loop


@on_a_loop
async def test_a_device_that_fails_for_good_ends_the_scheduler() -> None:
    """The request fails, and so does `run`: the service has to start anew."""
    with DeviceThreads(1) as thread:
        setup = Setup(thread, 4, 10)
        serving = asyncio.create_task(setup.scheduler.run())
        with pytest.raises(DeviceFailed):
            await setup.ask("fatal", 1)
        with pytest.raises(DeviceFailed):
            await serving


@on_a_loop
async def test_no_request_is_without_an_answer_when_the_device_fails() -> None:
    """Neither one in another batch, nor one that waits, nor one whose rows are being prepared, nor a later one."""
    with DeviceThreads(1, 2) as thread:
        setup = Setup(thread, 1, 10)
        device = Failing()
        setup.scheduler._runner._run_batch = device.run
        setup.latency().add(1, 10.0)
        serving = asyncio.create_task(setup.scheduler.run())
        with setup.scheduler.admit(KIND, setup.stage(), 1, "model") as preparing:
            held = await setup.start("held", 1)
            await device.has_begun.wait()
            waiting = [await setup.start(work, 1) for work in ("fatal", "a", "b", "c", "d")]
            for each in waiting:
                with pytest.raises(DeviceFailed, match="gone"):
                    await asyncio.wait_for(each, 10)
            assert not device.free.is_set()
            with pytest.raises(DeviceFailed, match="gone"):
                await asyncio.wait_for(held, 10)
            with pytest.raises(DeviceFailed, match="gone"):
                await asyncio.wait_for(setup.scheduler.answer(preparing, "late"), 10)
        with pytest.raises(DeviceFailed, match="gone"):
            await setup.ask("later", 1)
        device.free.set()
        with pytest.raises(DeviceFailed):
            await serving


class Failing(Letting):
    """Such a device, which the work `fatal` breaks for good."""

    def run(self, parts: Sequence[Part[str]], wants_next: Callable[[], object] | None) -> list[Range]:
        answers = super().run(parts, wants_next)
        if any(part.work == "fatal" for part in parts):
            raise DeviceFailed("gone")
        return answers


@pytest.mark.parametrize("dies", [True, False])
@on_a_loop
async def test_no_request_is_without_an_answer_when_the_scheduler_ends(dies: bool) -> None:  # noqa: FBT001
    """By a fault of its own, or as the service stops."""
    with DeviceThreads(1) as thread:
        setup = Setup(thread, 4, 10)
        serving = asyncio.create_task(setup.scheduler.run())
        first = await setup.occupy()
        waiting = await setup.start("a", 1)
        if dies:
            setup.scheduler._runner._learn = None  # type: ignore[assignment]
            setup.device.free.set()
        else:
            serving.cancel()
        for each in (first, waiting):
            with pytest.raises(Stopping):
                await asyncio.wait_for(each, 10)
        with pytest.raises(Stopping):
            await setup.ask("later", 1)
        setup.device.free.set()
        await asyncio.wait([serving])
        assert serving.cancelled() or isinstance(serving.exception(), TypeError)
