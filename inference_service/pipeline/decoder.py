"""Turns a request's images into rows of pixels, in threads: Pillow lets go of the interpreter while it decodes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from PIL import Image

from inference_service.pipeline.fair_turns import Turns
from model_store.errors import InvalidImage, InvalidInput, Violation
from model_store.modalities.inputs import MAX_ASPECT, ImageInputSpec, Pixels, decoded, open_image, to_pixels

# Larger ones are few at once: 16 MB as Pillow keeps them, decoded in about 50 ms.
_LARGE_PIXELS = 4_000_000


class Decoder:
    """Decodes, resizes and crops images in `threads`; those of all requests take turns.

    An image may have up to `max_pixels`, the images of a request together up to `max_request_pixels`. Large images that
    are in memory at once have together no more pixels than one may have; small ones do not wait for them.
    """

    def __init__(self, threads: Executor, *, max_pixels: int, max_request_pixels: int) -> None:
        self._threads = threads
        self._max_pixels = max_pixels
        self._max_request_pixels = max_request_pixels
        self._lock = threading.Lock()  # of all below
        self._waiting: Turns[_Job] = Turns()
        self._large: Turns[_Opened] = Turns()
        self._next_large: _Opened | None = None
        self._num_large_pixels = 0

    async def rows(
        self,
        images: Sequence[bytes | Pixels],
        spec: ImageInputSpec,
        field_of: Callable[[int], str],
        flow: Hashable = None,
    ) -> Pixels:
        """Return uint8 [n, crop_size, crop_size, 3] of encoded images or raw ones, uint8 [h, w, 3].

        `flow` is the model that they are for. Raises InvalidInput that names every image that cannot be used, by its
        number. When the caller is cancelled, what was not begun is not done.
        """
        request = _Request(images, spec, field_of, asyncio.get_running_loop())
        with self._lock:
            self._waiting.add(flow, request, (_Job(flow, request, index) for index in range(len(images))))
        for _ in images:
            self._threads.submit(self._work)
        try:
            await request.ended.wait()
        finally:
            request.is_over = True
            with self._lock:
                self._waiting.drop(flow, request)
                self._large.drop(flow, request)
        return request.result()

    def _work(self) -> None:
        """Do the job whose turn it is, or have it wait where it is large and others are being decoded."""
        with self._lock:
            job = self._waiting.take()
        if job is None or job.request.is_over:
            return
        with job.answering_faults():
            opened = self._opened(job)
            if opened.num_pixels <= _LARGE_PIXELS:
                opened.decode()
                return
            with self._lock:
                self._large.add(job.flow, job.request, [opened])
        self._work_on_large()

    def _work_on_large(self) -> None:
        """Decode the large image whose turn it is, where it fits, and have other threads look for the next ones."""
        opened = self._begun_large()
        if opened is None:
            return
        self._threads.submit(self._work_on_large)
        try:
            if not opened.job.request.is_over:
                with opened.job.answering_faults():
                    opened.decode()
        finally:
            with self._lock:
                self._num_large_pixels -= opened.num_pixels
            self._threads.submit(self._work_on_large)

    def _begun_large(self) -> _Opened | None:
        """Return the large image whose turn it is, where it fits; until it does no other one goes first."""
        with self._lock:
            opened = self._next_large or self._large.take()
            if opened is None or self._num_large_pixels + opened.num_pixels > self._max_pixels:
                self._next_large = opened
                return None
            self._next_large = None
            self._num_large_pixels += opened.num_pixels
            return opened

    def _opened(self, job: _Job) -> _Opened:
        """Return an image that is not decoded yet, but for raw pixels; raise InvalidImage or InvalidInput."""
        request, given = job.request, job.request.images[job.index]
        image = self._raw(given) if isinstance(given, np.ndarray) else self._encoded(given, request.spec)
        num_pixels = image.width * image.height
        with self._lock:
            request.num_pixels += num_pixels
            is_too_much = request.num_pixels > self._max_request_pixels
        if is_too_much:
            rule = f"with it the images have over {self._max_request_pixels} pixels together: send fewer at once"
            raise InvalidInput.of(request.field_of(job.index), rule)
        return _Opened(job, image, num_pixels)

    def _encoded(self, image: bytes, spec: ImageInputSpec) -> Image.Image:
        return open_image(image, max_pixels=self._max_pixels, short_edge=spec.resize_size)

    def _raw(self, pixels: Pixels) -> Image.Image:
        height, width = pixels.shape[:2]
        if height * width > self._max_pixels:
            raise InvalidImage(f"{width} x {height} pixels are over the limit of {self._max_pixels} pixels")
        if max(height, width) > MAX_ASPECT * min(height, width):
            raise InvalidImage(f"{width} x {height} pixels: one edge is over {MAX_ASPECT} times the other")
        return Image.fromarray(pixels)


class _Request:
    """The images of one request, and what became of each; `is_over` once nobody waits for them."""

    def __init__(
        self,
        images: Sequence[bytes | Pixels],
        spec: ImageInputSpec,
        field_of: Callable[[int], str],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.images = images
        self.spec = spec
        self.field_of = field_of
        self.num_pixels = 0
        self.is_over = False
        self.ended = asyncio.Event()
        self._loop = loop
        self._lock = threading.Lock()
        self._rows: list[Pixels | Violation | None] = [None] * len(images)
        self._num_left = len(images)
        self._error: Exception | None = None

    def end(self, index: int, row: Pixels | Violation) -> None:
        """Take what became of one image; any thread may call it."""
        with self._lock:
            self._rows[index] = row
            self._num_left -= 1
            has_ended = not self._num_left
        if has_ended:
            self._tell()

    def fail(self, error: Exception) -> None:
        """End all of it with an error, the first one that comes; any thread may call it."""
        with self._lock:
            is_first, self._error = self._error is None, self._error or error
        if is_first:
            self._tell()
            self.is_over = True

    def result(self) -> Pixels:
        """Return the rows, or raise what stands in the way."""
        if self._error is not None:
            raise self._error
        if violations := [each for each in self._rows if isinstance(each, Violation)]:
            raise InvalidInput(*violations)
        return np.stack([each for each in self._rows if isinstance(each, np.ndarray)])

    def _tell(self) -> None:
        if not self.is_over:
            self._loop.call_soon_threadsafe(self.ended.set)


@dataclass(frozen=True)
class _Job:
    """One image of a request for a flow."""

    flow: Hashable
    request: _Request
    index: int

    @contextmanager
    def answering_faults(self) -> Iterator[None]:
        """Tell the request of whatever goes wrong: a thread's error would be lost, and the request wait for ever."""
        try:
            yield
        except InvalidImage as error:
            self.request.end(self.index, Violation(self.request.field_of(self.index), str(error)))
        except Exception as error:  # noqa: BLE001  the outermost frame of a thread's work
            self.request.fail(error)


@dataclass(frozen=True)
class _Opened:
    """An image that can be decoded, and how many pixels it has then."""

    job: _Job
    image: Image.Image
    num_pixels: int

    def decode(self) -> None:
        """Make a row of it, and tell its request; raise InvalidImage where that cannot be done."""
        request = self.job.request
        request.end(self.job.index, to_pixels(decoded(self.image), request.spec))
