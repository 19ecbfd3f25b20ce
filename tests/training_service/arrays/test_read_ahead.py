"""Rows are read before they are asked for, one batch and no more, and arrive in order."""

from __future__ import annotations

import itertools
import threading

import pytest
import torch
from torch import Tensor

from training_service.arrays.read_ahead import read_ahead

CPU = torch.device("cpu")


def test_every_batch_arrives_in_order() -> None:
    """Also none at all."""
    found = read_ahead(torch.tensor, [1, 2, 3], CPU)
    assert [(batch, int(rows)) for batch, rows in found] == [(1, 1), (2, 2), (3, 3)]
    assert not list(read_ahead(torch.tensor, [], CPU))


def test_the_next_batch_is_read_while_one_is_used() -> None:
    """In another thread; of an endless row of batches no other one is."""
    read, second = list[tuple[int, threading.Thread]](), threading.Event()

    def reading(batch: int) -> Tensor:
        read.append((batch, threading.current_thread()))
        if batch == 1:
            second.set()
        return torch.tensor(batch)

    batches = read_ahead(reading, itertools.count(), CPU)
    assert int(next(batches)[1]) == 0
    assert second.wait(10)
    batches.close()
    assert [batch for batch, _ in read] == [0, 1]
    assert threading.current_thread() not in {thread for _, thread in read}


def test_what_cannot_be_read_is_told_in_its_turn() -> None:
    """Batches before it are used first."""

    def reading(batch: int) -> Tensor:
        if batch == 2:
            raise OSError("gone")
        return torch.tensor(batch)

    batches = read_ahead(reading, itertools.count(), CPU)
    assert [int(next(batches)[1]), int(next(batches)[1])] == [0, 1]
    with pytest.raises(OSError, match="gone"):
        next(batches)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gets_the_same_rows() -> None:
    """Copied beside what computes, and kept until that is done."""
    device = torch.device("cuda")
    found = [rows.sum().item() for _, rows in read_ahead(lambda n: torch.full((1000, 1000), n), range(20), device)]
    assert found == [1_000_000 * number for number in range(20)]
