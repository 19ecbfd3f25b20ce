"""Memory in which the rows of a batch are put together, kept from batch to batch."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from inference_service.execution.work import Rows


class BatchBuffer(threading.local):
    """A buffer for each thread that uses it, as large as its largest batch; for a GPU its pages are pinned.

    Memory that is new for every batch has to be cleared by the system first, page by page.
    """

    def __init__(self, device: torch.device) -> None:
        self._is_pinned = device.type == "cuda"
        self._bytes = torch.empty(0, dtype=torch.uint8)

    def joined(self, rows: Sequence[Rows]) -> Tensor:
        """Return rows of one shape and type one behind the other: valid until the thread's next call."""
        size = sum(each.nbytes for each in rows)
        if self._bytes.nbytes < size:
            self._bytes = torch.empty(size, dtype=torch.uint8, pin_memory=self._is_pinned)
        whole = self._bytes[:size].numpy().view(rows[0].dtype).reshape(-1, *rows[0].shape[1:])
        np.concatenate(rows, out=whole)
        return torch.from_numpy(whole)
