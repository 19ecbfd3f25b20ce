"""Memory in which the rows of a batch are put together, kept from batch to batch."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from model_store.modalities import Batch, Rows

_ALIGNMENT = 64


class BatchBuffer(threading.local):
    """A buffer for each thread that uses it, as large as its largest batch; for a GPU its pages are pinned.

    Memory that is new for every batch has to be cleared by the system first, page by page.
    """

    def __init__(self, device: torch.device) -> None:
        self._is_pinned = device.type == "cuda"
        self._bytes = torch.empty(0, dtype=torch.uint8)

    def joined(self, rows: Sequence[Rows]) -> Batch:
        """Return rows of one form one behind the other: valid until the thread's next call."""
        size = sum(_aligned(sum(each.arrays[name].nbytes for each in rows)) for name in rows[0].arrays)
        if self._bytes.nbytes < size:
            self._bytes = torch.empty(size, dtype=torch.uint8, pin_memory=self._is_pinned)
        tensors, start = {}, 0
        for name, first in rows[0].arrays.items():
            parts = [each.arrays[name] for each in rows]
            stop = start + sum(part.nbytes for part in parts)
            whole = self._bytes[start:stop].numpy().view(first.dtype).reshape(-1, *first.shape[1:])
            np.concatenate(parts, out=whole)
            tensors[name] = torch.from_numpy(whole)
            start = _aligned(stop)
        return Batch(tensors, sum(map(len, rows)))

    def holds(self, tensor: Tensor) -> bool:
        """Say whether a tensor lies in this memory, which the thread's next batch will be written to."""
        return tensor.untyped_storage().data_ptr() == self._bytes.untyped_storage().data_ptr()


def _aligned(size: int) -> int:
    """Return the next multiple of the largest element's bytes: a view of another type must begin at one."""
    return -(-size // _ALIGNMENT) * _ALIGNMENT
