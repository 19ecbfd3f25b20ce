"""Rows are read before they are asked for, one batch and no more, and arrive in order."""

from __future__ import annotations

import itertools
import threading

import pytest
import torch

from model_store.modalities import Batch
from training_service.arrays.read_ahead import read_ahead

CPU = torch.device("cpu")


def one_row(number: int) -> Batch:
    """Return a batch of one row that is a number."""
    return Batch.of(torch.tensor([number]))


def test_every_batch_arrives_in_order() -> None:
    """Also none at all."""
    found = read_ahead(one_row, [1, 2, 3], CPU)
    assert [(batch, int(rows.x)) for batch, rows in found] == [(1, 1), (2, 2), (3, 3)]
    assert not list(read_ahead(one_row, [], CPU))


def test_the_next_batch_is_read_while_one_is_used() -> None:
    """In another thread; of an endless row of batches no other one is."""
    read, second = list[tuple[int, threading.Thread]](), threading.Event()

    def reading(batch: int) -> Batch:
        read.append((batch, threading.current_thread()))
        if batch == 1:
            second.set()
        return one_row(batch)

    batches = read_ahead(reading, itertools.count(), CPU)
    assert int(next(batches)[1].x) == 0
    assert second.wait(10)
    batches.close()
    assert [batch for batch, _ in read] == [0, 1]
    assert threading.current_thread() not in {thread for _, thread in read}


def test_what_cannot_be_read_is_told_in_its_turn() -> None:
    """Batches before it are used first."""

    def reading(batch: int) -> Batch:
        if batch == 2:
            raise OSError("gone")
        return one_row(batch)

    batches = read_ahead(reading, itertools.count(), CPU)
    assert [int(next(batches)[1].x), int(next(batches)[1].x)] == [0, 1]
    with pytest.raises(OSError, match="gone"):
        next(batches)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gets_the_same_rows() -> None:
    """Copied beside what computes, and kept until that is done."""
    device = torch.device("cuda")

    def read(number: int) -> Batch:
        return Batch({"x": torch.full((1000, 1000), number), "mask": torch.ones(1000, dtype=torch.bool)}, 1000)

    found = [(rows.x.sum().item(), int(rows.tensors["mask"].sum())) for _, rows in read_ahead(read, range(20), device)]
    assert found == [(1_000_000 * number, 1000) for number in range(20)]
