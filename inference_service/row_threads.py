"""Runs rows on all cores at once, each core taking one small share of them after the other through every stage.

The other way, one operation after another on all cores, waits after each for the core that was last: most where
something else wants the cores, as messages that come in do.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from inference_service.precision import Precision

# Of four images of 224 pixels a share, what a stage leaves for the next is still in the core's cache: MobileNetV2
# answers 1.2 to 1.4 times the rows a second that it does with a half of 16 or 32 rows for each of two cores.
_SHARE_NUMBERS = 4 * 3 * 224 * 224


class RowThreads:
    """Threads for the CPU's cores; close it when nothing runs any more."""

    def __init__(self, num_threads: int) -> None:
        self._num_threads = num_threads
        self._threads = ThreadPoolExecutor(num_threads, "rows")

    def run(self, work: Callable[[Tensor], Tensor], rows: Tensor, precision: Precision) -> Tensor:
        """Return what `work` makes of the rows in this precision, [n, …] each.

        A caller that has one of PyTorch's threads wants no others, and runs it itself.
        """
        if torch.get_num_threads() == 1:
            return work(rows)
        num_rounds = math.ceil(rows.numel() / (self._num_threads * _SHARE_NUMBERS))
        num_shares = min(self._num_threads * num_rounds, len(rows))
        num_each = max(1, self._num_threads // num_shares)
        if num_shares == 1 and precision is not Precision.FLOAT32:
            # Two threads of a core have one unit for such numbers: a row alone takes longer with both.
            num_each = max(1, num_each // 2)
        shares = [self._threads.submit(_run, work, share, num_each) for share in rows.tensor_split(num_shares)]
        return torch.cat([share.result() for share in shares])

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown()


def _run(work: Callable[[Tensor], Tensor], rows: Tensor, num_threads: int) -> Tensor:
    if torch.get_num_threads() != num_threads:
        torch.set_num_threads(num_threads)  # PyTorch keeps it for each thread
    with torch.inference_mode():
        return work(rows)
