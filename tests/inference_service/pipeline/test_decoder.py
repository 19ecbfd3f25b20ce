"""Images of many requests become rows in threads: in turns, large ones few at once, and every request is answered."""

from __future__ import annotations

import asyncio
import io
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from inference_service.pipeline.decoder import Decoder
from model_store.errors import InvalidInput
from model_store.modalities import LIMITS, Rows
from model_store.modalities.image import spec as spec_module
from model_store.modalities.image.spec import PIXELS, Pixels
from tests.inference_service.loops import on_a_loop
from tests.inference_service.making import SPEC, photo, pixels

SMALL = (90, 80)
LARGE = (2100, 2000)  # just over what counts as large


class Held:
    """Decoding that the tests hold; `order` lists the widths of images as they are begun."""

    def __init__(self, decoded: Callable[[Image.Image], Image.Image]) -> None:
        self._decoded = decoded
        self._lock = threading.Lock()
        self.free = threading.Event()
        self.begun = threading.Semaphore(0)
        self.order: list[int] = []
        self.num_pixels = self.most_pixels = 0

    def __call__(self, image: Image.Image) -> Image.Image:
        with self._lock:
            self.order.append(image.width)
            self.num_pixels += image.width * image.height
            self.most_pixels = max(self.most_pixels, self.num_pixels)
        self.begun.release()
        assert self.free.wait(10)
        try:
            return self._decoded(image)
        finally:
            with self._lock:
                self.num_pixels -= image.width * image.height


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Held:
    """Hold what decodes until it is let free."""
    held = Held(spec_module.decoded)
    monkeypatch.setattr(spec_module, "decoded", held)
    return held


@asynccontextmanager
async def decoding(num_threads: int, **limits: int) -> AsyncIterator[Decoder]:
    """A decoder with its threads."""
    with ThreadPoolExecutor(num_threads) as threads:
        yield Decoder(threads, {"image": replace(LIMITS["image"], **{"example": 6_000_000, **limits})})


def start(decoder: Decoder, images: Sequence[bytes | Pixels], model: str = "flowers") -> asyncio.Task[Rows]:
    """Begin to decode a request's images."""
    return asyncio.create_task(decoder.rows(images, SPEC, "images[{}]".format, model))


def sized(width: int, height: int) -> bytes:
    """Return an encoded image of one colour."""
    file = io.BytesIO()
    Image.new("RGB", (width, height), (width % 256, 40, 80)).save(file, "PNG")
    return file.getvalue()


@on_a_loop
async def test_rows_are_in_the_order_of_the_images() -> None:
    """Small, large and raw ones, whichever is done first."""
    photos = [photo(1), sized(*LARGE), photo(3), sized(LARGE[0] + 50, LARGE[1])]
    raw = np.asarray(Image.open(io.BytesIO(photo(5))))
    async with decoding(3) as decoder:
        rows = await start(decoder, [*photos, raw])
    encoded = [spec_module.decoded(spec_module.open_image(each, max_pixels=10**7)) for each in photos]
    expected = [spec_module.to_pixels(each, SPEC) for each in encoded]
    np.testing.assert_array_equal(rows.arrays[PIXELS], np.stack([*expected, pixels(photo(5))]))


def test_requests_and_models_take_turns(held: Held) -> None:
    """A request of one image waits for no more than one of each other request, and a model for one of each model."""

    async def run() -> None:
        async with decoding(1) as decoder:
            first = start(decoder, [sized(70, 70)])
            assert await asyncio.to_thread(held.begun.acquire, timeout=10)
            many = start(decoder, [sized(width, 70) for width in (71, 72, 73)])
            await asyncio.sleep(0)
            few = start(decoder, [sized(80, 70)])
            other = start(decoder, [sized(90, 70), sized(91, 70)], model="birds")
            await asyncio.sleep(0)
            held.free.set()
            await asyncio.gather(first, many, few, other)

    asyncio.run(run())
    assert held.order == [70, 71, 90, 80, 91, 72, 73]


def test_large_images_are_few_at_once_and_small_ones_pass_them(held: Held) -> None:
    """So many large pixels are in memory as one image may have, whatever the number of threads."""

    async def run() -> None:
        async with decoding(4) as decoder:
            large = [start(decoder, [sized(*LARGE)] * 2), start(decoder, [sized(*LARGE)], model="birds")]
            assert await asyncio.to_thread(held.begun.acquire, timeout=10)
            small = start(decoder, [sized(*SMALL)])
            assert await asyncio.to_thread(held.begun.acquire, timeout=10)
            assert held.order == [LARGE[0], SMALL[0]]
            held.free.set()
            await asyncio.gather(*large, small)

    asyncio.run(run())
    assert sorted(held.order) == [SMALL[0], *[LARGE[0]] * 3]
    assert held.most_pixels < LARGE[0] * LARGE[1] + 4 * SMALL[0] * SMALL[1]


def test_what_nobody_waits_for_any_more_is_not_decoded(held: Held) -> None:
    """Neither small images nor large ones, and those of others are."""

    async def run() -> None:
        async with decoding(1) as decoder:
            first = start(decoder, [sized(70, 70)])
            assert await asyncio.to_thread(held.begun.acquire, timeout=10)
            left = start(decoder, [sized(71, 70), sized(*LARGE)])
            await asyncio.sleep(0)
            left.cancel()
            await asyncio.wait([left])
            other = start(decoder, [sized(72, 70)])
            await asyncio.sleep(0)
            held.free.set()
            await asyncio.gather(first, other)

    asyncio.run(run())
    assert held.order == [70, 72]


@on_a_loop
async def test_a_request_of_too_many_pixels_is_refused_before_they_are_decoded() -> None:
    """Large ones wait for their turn, and their request is over by then: hundreds of them cost next to nothing."""
    async with decoding(2, example=50_000_000, request=10 * 4_200_000) as decoder:
        bomb = sized(*LARGE)
        with pytest.raises(InvalidInput, match=r"images\[\d+\]: with it the request has over 42000000 pixels"):
            await start(decoder, [bomb] * 200)
        assert len(await start(decoder, [bomb] * 10)) == 10


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_a_fault_in_a_thread_is_told_to_its_request(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would wait for ever; the next one is answered, and has the room of the one before."""

    async def run() -> None:
        async with decoding(1, example=5_000_000) as decoder:
            for broken in ("decoded", "open_image"):
                with monkeypatch.context() as patch:
                    patch.setattr(spec_module, broken, _fail)
                    with pytest.raises(ZeroDivisionError):
                        await asyncio.wait_for(start(decoder, [sized(*size)] * 3), 10)
                assert len(await asyncio.wait_for(start(decoder, [sized(*size)] * 3), 10)) == 3

    asyncio.run(run())


def test_the_memory_of_large_images_is_given_back() -> None:
    """In a process of its own, as it is where the service runs: eight images of 100 MB each in four threads."""
    code = """
import inference_service, io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from PIL import Image
from model_store.modalities.image.decoding import decode_image

def kept_mb(_=None):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) // 1024

file = io.BytesIO()
Image.new("RGB", (5000, 5000), (1, 2, 3)).save(file, "PNG", compress_level=1)
with ThreadPoolExecutor(4) as threads:
    before = kept_mb()
    assert list(threads.map(lambda _: decode_image(file.getvalue(), max_pixels=10**8).width, range(8))) == [5000] * 8
    print(kept_mb() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 100


def _fail(*_: object, **__: object) -> None:
    raise ZeroDivisionError
