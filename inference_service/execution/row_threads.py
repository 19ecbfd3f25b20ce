"""Runs the rows of a batch on all cores: each core takes one small share of rows after the other through every stage.

Running each operation on all cores instead waits after every operation for the slowest core, longest where other work
needs the cores, such as reading messages.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from queue import PriorityQueue

import torch

from inference_service.batching.device_threads import set_torch_threads
from inference_service.models.precision import Precision
from model_store.modalities import Batch, concatenated, split

# Four rows of 3 x 224 x 224 in float32, or eight in bfloat16: a stage's output is still in the core's cache for the
# next stage. MobileNetV2 runs 1.4 to 1.6 times as many rows a second as with 24 rows for each of two cores. Half as
# many rows a share cost 2 to 20 %, as the weights are read twice as often.
_SHARE_BYTES = 4 * 3 * 224 * 224 * 4
_NEVER = math.inf


class RowThreads:
    """One thread for each CPU core; close it when no batch runs any more.

    `has_siblings`: two of these CPUs may be hyper-threads of one core. Two threads may run a batch each at once: a core
    that finds no share of one batch takes one of the other.
    """

    def __init__(self, num_threads: int, *, has_siblings: bool = False) -> None:
        self._num_threads = num_threads
        self._has_siblings = has_siblings
        self._shares: PriorityQueue[tuple[float, int, Callable[[], object] | None]] = PriorityQueue()
        self._order = itertools.count()
        self._threads = [
            threading.Thread(target=self._run_shares, name=f"rows_{n}", daemon=True) for n in range(num_threads)
        ]
        for thread in self._threads:
            thread.start()

    def run(
        self,
        work: Callable[[Batch], Batch],
        rows: Batch,
        precision: Precision,
        *,
        turn: int = 0,
        last_is_taken: Callable[[], object] | None = None,
    ) -> Batch:
        """Return what `work` makes of the rows in this precision, [n, …] each.

        The batch with the lowest `turn`, its number, goes first. `last_is_taken` is called, by any thread, when every
        core has a share and none waits: from then on a core may idle. With one intra-op thread, run in the calling
        thread.
        """
        if torch.get_num_threads() == 1:
            return work(rows)
        num_bytes = sum(each.numel() for each in rows.tensors.values()) * precision.dtype.itemsize
        num_rounds = math.ceil(num_bytes / (self._num_threads * _SHARE_BYTES))
        num_shares = min(self._num_threads * num_rounds, len(rows))
        num_each = max(1, self._num_threads // num_shares)
        if num_shares == 1 and precision is not Precision.FLOAT32 and self._has_siblings:
            # Two hyper-threads share their core's unit for such numbers: one row takes longer with both.
            num_each = max(1, num_each // 2)
        shares = [_Share(work, share, num_each) for share in split(rows, num_shares)]
        if num_each == 1 and num_shares >= self._num_threads:
            shares[-1].is_taken = last_is_taken
        for share in shares:
            self._shares.put((turn, next(self._order), share))
        return concatenated([share.output.result() for share in shares])

    def close(self) -> None:
        """End the threads."""
        for _ in self._threads:
            self._shares.put((_NEVER, next(self._order), None))
        for thread in self._threads:
            thread.join()

    def _run_shares(self) -> None:
        while self._run_next():
            pass

    def _run_next(self) -> bool:
        """Run one share, and release it before waiting for the next one; return whether there may be one."""
        share = self._shares.get()[-1]
        if share is not None:
            share()
        return share is not None


class _Share:
    """A few rows of a batch, to be run by one thread."""

    def __init__(self, work: Callable[[Batch], Batch], rows: Batch, num_threads: int) -> None:
        self._work = work
        self._rows = rows
        self._num_threads = num_threads
        self.is_taken: Callable[[], object] | None = None
        self.output: Future[Batch] = Future()

    def __call__(self) -> None:
        """Run them."""
        try:
            if self.is_taken is not None:
                self.is_taken()
            self.output.set_result(self._run())
        except BaseException as error:  # noqa: BLE001  goes to the reader of the future
            self.output.set_exception(error)

    def _run(self) -> Batch:
        set_torch_threads(self._num_threads)
        with torch.inference_mode():
            return self._work(self._rows)


def has_siblings() -> bool:
    """Return whether two of the system's CPUs may be hyper-threads of one core."""
    try:
        return Path("/sys/devices/system/cpu/smt/active").read_text().strip() == "1"
    except OSError:  # no Linux
        return False
