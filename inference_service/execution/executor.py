"""Runs batches for many versions on one device, translates the device's errors, and counts."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager

import torch

from inference_service.batching.queue_entry import Part
from inference_service.errors import DeviceFailed, OutOfDeviceMemory
from inference_service.execution.row_threads import RowThreads
from inference_service.execution.tree_batch import BatchExecution, Member
from inference_service.execution.work import Answer, Work
from inference_service.models.resident import ResidentVersion
from model_store.calibration import batch_of
from model_store.errors import InvalidManifest
from model_store.modalities import Batch

_NUM_BLANKS = 64


class Executor:
    """Runs batches on one device.

    With `row_threads` the rows of a stage are shared among the CPU's cores, and batches may be run in two threads at
    once; without, call it in one thread.
    """

    def __init__(self, device: torch.device, row_threads: RowThreads | None = None) -> None:
        self._device = device
        self._row_threads = row_threads
        self._blanks: dict[Hashable, Batch] = {}
        self._turns = itertools.count()
        self._counting = threading.Lock()

    def run(self, parts: Sequence[Part[Work]], wants_next: Callable[[], object] | None = None) -> list[Answer]:
        """Return each part's outputs, in order; rows of the same input form and the same stages run together.

        `wants_next` is called, by any thread, once the next batch may run beside this one: when rows are shared among
        the cores and a core may idle. Raises OutOfDeviceMemory where the batch does not fit, and DeviceFailed where the
        device runs nothing any more.
        """
        started = time.perf_counter_ns()
        by_input: defaultdict[object, list[Member]] = defaultdict(list)
        members = [Member(part) for part in parts]
        for member in members:
            by_input[member.input_form].append(member)
        *groups, last = by_input.values()
        execution = BatchExecution(self._device, self._row_threads, next(self._turns))
        with torch.inference_mode(), self._device_errors(sum(part.num_rows for part in parts)):
            for group in groups:
                execution.run(group)
            execution.run(last, wants_next)
        with self._counting:
            _count(parts, started, time.perf_counter_ns())
        return [member.answer for member in members]

    def warm_up(self, version: ResidentVersion) -> None:
        """Run one row through a version; raise InvalidManifest where it does not run or gives no finite numbers.

        The backbone's output is kept: for the next version with that backbone only the head is run.
        """
        try:
            with torch.inference_mode(), self._device_errors(1):
                features = self._blank_features(version)
                answers = [features] if version.head is None else [features, version.head(features)]
                is_finite = all(bool(each.isfinite().all()) for answer in answers for each in answer.tensors.values())
        except RuntimeError as error:
            raise InvalidManifest(f"a row of its input does not run through {version.name}: {error}") from error
        if not is_finite:
            raise InvalidManifest(f"{version.name} answers with numbers that are not finite: its training diverged")

    def has_run(self, version: ResidentVersion) -> bool:
        """Return whether warming up runs only a version's head: any thread may do it then."""
        return version.backbone_key in self._blanks and all(stage.is_recorded for stage in version.backbone)

    def _blank_features(self, version: ResidentVersion) -> Batch:
        key = version.backbone_key
        if not self.has_run(version):
            self._blanks[key] = version.features(batch_of(version.input_spec.blank(), self._device), records=True)
            if len(self._blanks) > _NUM_BLANKS:
                del self._blanks[next(iter(self._blanks))]
        return self._blanks[key]

    @contextmanager
    def _device_errors(self, num_rows: int) -> Iterator[None]:
        try:
            yield
        except torch.OutOfMemoryError as error:
            raise OutOfDeviceMemory(f"the device has no memory for a batch of {num_rows} rows: send fewer") from error
        except torch.AcceleratorError as error:  # CUDA raises the same error for every later call
            raise DeviceFailed(
                "the device failed and runs nothing any more", detail=f"{self._device}: {error}"
            ) from error


def _count(parts: Sequence[Part[Work]], started_ns: int, ended_ns: int) -> None:
    """Count a batch that ran in the times of its requests, and in the statistics of the versions with rows in it."""
    num_rows: Counter[ResidentVersion] = Counter()
    for part in parts:
        times = part.work.times
        num_rows[part.work.version] += part.num_rows
        if part.start == 0:
            times.queue_ns = started_ns - part.work.queued_ns
        times.device_ns += ended_ns - started_ns
        times.device_done_ns = max(times.device_done_ns, ended_ns)
    for version, count in num_rows.items():
        version.statistics.add_batch(count, ended_ns - started_ns)
