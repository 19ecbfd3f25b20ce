"""Reads the next rows while the device computes on these: from the disk, and on a GPU into its memory, too."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

from model_store.modalities import Batch

T = TypeVar("T")
_Sent = tuple[Batch, torch.cuda.Event | None]  # rows, and the event after which a GPU has them


def read_ahead(read: Callable[[T], Batch], batches: Iterable[T], device: torch.device) -> Iterator[tuple[T, Batch]]:
    """Yield each of the batches with the result of `read` for it, on the device; `read` is called in a thread.

    One batch is read ahead, so `batches` may have no end. Each tensor is one copy to a GPU, out of pinned memory and
    beside the computing stream.
    """
    thread = ThreadPoolExecutor(1, "read-ahead")
    copier = _GpuCopier(device) if device.type == "cuda" else None
    send = _unsent if copier is None else copier.send

    def sent(batch: T) -> _Sent:
        return send(read(batch))

    try:
        for batch, running in _one_ahead((batch, thread.submit(sent, batch)) for batch in batches):
            rows, copied = running.result()
            yield batch, (rows if copied is None else _arrived(rows, copied))
    finally:
        thread.shutdown(wait=False, cancel_futures=True)


class _GpuCopier:
    """Copies to a GPU on a separate stream."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # PyTorch's own stub

    def send(self, rows: Batch) -> _Sent:
        """Begin to copy rows."""
        pinned = Batch({name: tensor.pin_memory() for name, tensor in rows.tensors.items()}, rows.num_rows)
        with torch.cuda.stream(self._stream):
            return pinned.to(self._device, non_blocking=True), self._stream.record_event()


def _unsent(rows: Batch) -> _Sent:
    return rows, None


def _arrived(rows: Batch, copied: torch.cuda.Event) -> Batch:
    """Let the stream that computes wait for rows, and keep their memory until it has used them."""
    for tensor in rows.tensors.values():
        computing = torch.cuda.current_stream(tensor.device)
        computing.wait_event(copied)
        tensor.record_stream(computing)
    return rows


def _one_ahead(begun: Iterable[tuple[T, Future[_Sent]]]) -> Iterator[tuple[T, Future[_Sent]]]:
    """Yield each once the one after it was begun, too."""
    last: tuple[T, Future[_Sent]] | None = None
    for each in begun:
        if last is not None:
            yield last
        last = each
    if last is not None:
        yield last
