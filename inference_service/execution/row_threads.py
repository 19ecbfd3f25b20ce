"""Runs rows on all cores at once, each core taking one small share of them after the other through every stage.

The other way, one operation after another on all cores, waits after each for the core that was last: most where
something else wants the cores, as messages that come in do.
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

# Of four rows of 3 x 224 x 224 a share in float32, and eight in bfloat16, what a stage leaves for the next is still in
# the core's cache: MobileNetV2 answers 1.4 to 1.6 times the rows a second that it does with 24 rows for each of two
# cores. Shares of half as many cost a fiftieth to a fifth, as the weights are then read twice as often.
_SHARE_BYTES = 4 * 3 * 224 * 224 * 4
_NEVER = math.inf


class RowThreads:
    """Threads for the CPU's cores; close it when nothing runs any more.

    `has_siblings` says that two of the CPUs that these run on may be one core.
    Two batches may be run at once, from two threads: a core that one has no share left for goes on with the other.
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

        The lowest `turn` goes first, which is the batch's number. `last_is_taken` is called, by any thread, when no
        share waits any more and every core has one: from then on a core may find nothing to do. A caller that has one
        of PyTorch's threads wants no others, and runs all itself.
        """
        if torch.get_num_threads() == 1:
            return work(rows)
        num_bytes = sum(each.numel() for each in rows.tensors.values()) * precision.dtype.itemsize
        num_rounds = math.ceil(num_bytes / (self._num_threads * _SHARE_BYTES))
        num_shares = min(self._num_threads * num_rounds, len(rows))
        num_each = max(1, self._num_threads // num_shares)
        if num_shares == 1 and precision is not Precision.FLOAT32 and self._has_siblings:
            # Two threads of a core have one unit for such numbers: a row alone takes longer with both.
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
        """Run a share, and keep nothing of it while waiting for the next one; say whether there may be one."""
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
        except BaseException as error:  # noqa: BLE001  what the work raised goes to who waits for it
            self.output.set_exception(error)

    def _run(self) -> Batch:
        set_torch_threads(self._num_threads)
        with torch.inference_mode():
            return self._work(self._rows)


def has_siblings() -> bool:
    """Say whether two of the CPUs that the system counts may be one core."""
    try:
        return Path("/sys/devices/system/cpu/smt/active").read_text().strip() == "1"
    except OSError:  # no Linux
        return False
