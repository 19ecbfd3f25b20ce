"""Prepares a request's examples as rows, in threads: libraries that decode let go of the interpreter meanwhile."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass

from inference_service.pipeline.fair_queue import FairQueue
from model_store.errors import InvalidExample, InvalidInput, Violation
from model_store.modalities import InputSpec, Limits, Opened, Rows

# Larger ones are few at once: 16 MB at four bytes a unit, prepared in about 50 ms.
_LARGE = 4_000_000


class Decoder:
    """Opens and prepares examples in `threads`; the examples of all requests take turns.

    Sizes are in the modality's unit and bounded by the `limits` of each modality. Large examples in memory at the same
    time have together at most the size limit of one example. Small examples do not wait for them.
    """

    def __init__(self, threads: Executor, limits: Mapping[str, Limits]) -> None:
        self._threads = threads
        self._limits = limits
        self._lock = threading.Lock()  # of all below
        self._waiting: FairQueue[_Job] = FairQueue()
        self._large: FairQueue[_Opened] = FairQueue()
        self._next_large: _Opened | None = None
        self._large_sizes: Counter[str] = Counter()  # in memory, by modality

    async def rows(
        self,
        examples: Sequence[object],
        spec: InputSpec,
        field_of: Callable[[int], str],
        model: Hashable = None,
    ) -> Rows:
        """Return examples as rows, in order.

        The examples of different models take turns. Raises InvalidInput naming each unusable example by its number.
        Examples that are not yet begun are dropped when the caller is cancelled.
        """
        request = _Request(examples, spec, field_of, asyncio.get_running_loop())
        with self._lock:
            self._waiting.add(model, request, (_Job(model, request, index) for index in range(len(examples))))
        for _ in examples:
            self._threads.submit(self._work)
        try:
            await request.ended.wait()
        finally:
            request.is_over = True
            with self._lock:
                self._waiting.drop(model, request)
                self._large.drop(model, request)
        return request.result()

    def _work(self) -> None:
        """Run the next job; a large one waits while other large ones are being prepared."""
        with self._lock:
            job = self._waiting.take()
        if job is None or job.request.is_over:
            return
        with job.answering_faults():
            opened = self._opened(job)
            if opened.size <= _LARGE:
                opened.prepare()
                return
            with self._lock:
                self._large.add(job.model, job.request, [opened])
        self._work_on_large()

    def _work_on_large(self) -> None:
        """Prepare the large example whose turn it is, where it fits, and have other threads look for the next ones."""
        opened = self._begun_large()
        if opened is None:
            return
        self._threads.submit(self._work_on_large)
        try:
            if not opened.job.request.is_over:
                with opened.job.answering_faults():
                    opened.prepare()
        finally:
            with self._lock:
                self._large_sizes[opened.kind] -= opened.size
            self._threads.submit(self._work_on_large)

    def _begun_large(self) -> _Opened | None:
        """Return the next large example if it fits; until it fits, no other large one is started."""
        with self._lock:
            opened = self._next_large or self._large.take()
            if opened is None or not self._has_room(opened):
                self._next_large = opened
                return None
            self._next_large = None
            self._large_sizes[opened.kind] += opened.size
            return opened

    def _has_room(self, opened: _Opened) -> bool:
        return self._large_sizes[opened.kind] + opened.size <= self._limits[opened.kind].example

    def _opened(self, job: _Job) -> _Opened:
        """Return an example that is not prepared yet; raise InvalidExample or InvalidInput."""
        request, spec = job.request, job.request.spec
        limits = self._limits[spec.kind]
        opened = spec.open(request.examples[job.index], limits.example)
        with self._lock:
            request.size += opened.size
            is_too_much = request.size > limits.request
        if is_too_much:
            rule = f"with it the request has over {limits.request} {spec.unit}: send fewer at once"
            raise InvalidInput.of(request.field_of(job.index), rule)
        return _Opened(job, opened, opened.size)


class _Request:
    """The examples of one request and their results; `is_over` after the caller has gone."""

    def __init__(
        self,
        examples: Sequence[object],
        spec: InputSpec,
        field_of: Callable[[int], str],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.examples = examples
        self.spec = spec
        self.field_of = field_of
        self.size = 0
        self.is_over = False
        self.ended = asyncio.Event()
        self._loop = loop
        self._lock = threading.Lock()
        self._rows: list[Rows | Violation | None] = [None] * len(examples)
        self._num_left = len(examples)
        self._error: Exception | None = None

    def end(self, index: int, row: Rows | Violation) -> None:
        """Take the result of one example; thread-safe."""
        with self._lock:
            self._rows[index] = row
            self._num_left -= 1
            has_ended = not self._num_left
        if has_ended:
            self._tell()

    def fail(self, error: Exception) -> None:
        """End the request with an error; the first error counts. Thread-safe."""
        with self._lock:
            is_first, self._error = self._error is None, self._error or error
        if is_first:
            self._tell()
            self.is_over = True

    def result(self) -> Rows:
        """Return the rows, or raise the error of the request."""
        if self._error is not None:
            raise self._error
        if violations := [each for each in self._rows if isinstance(each, Violation)]:
            raise InvalidInput(*violations)
        return self.spec.collate([each for each in self._rows if isinstance(each, Rows)])

    def _tell(self) -> None:
        if not self.is_over:
            self._loop.call_soon_threadsafe(self.ended.set)


@dataclass(frozen=True)
class _Job:
    """One example of a request to a model."""

    model: Hashable
    request: _Request
    index: int

    @contextmanager
    def answering_faults(self) -> Iterator[None]:
        """Pass any error of the thread on to the request, which would wait for ever otherwise."""
        try:
            yield
        except InvalidExample as error:
            self.request.end(self.index, Violation(self.request.field_of(self.index), str(error)))
        except Exception as error:  # noqa: BLE001  the outermost frame of a thread's work
            self.request.fail(error)


@dataclass(frozen=True)
class _Opened:
    """An example that can be prepared, and its size."""

    job: _Job
    example: Opened
    size: int

    @property
    def kind(self) -> str:
        """The modality."""
        return self.job.request.spec.kind

    def prepare(self) -> None:
        """Prepare the example as a row, and report it to its request; raise InvalidExample for an unusable one."""
        self.job.request.end(self.job.index, self.example.prepare())
