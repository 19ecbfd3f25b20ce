"""Rows are put together in memory that is used again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from inference_service.execution.batch_buffer import BatchBuffer


def test_rows_of_any_kind_come_in_order() -> None:
    """Smaller and larger than what came before, pixels and numbers, one part and several."""
    buffer = BatchBuffer(torch.device("cpu"))
    random = np.random.default_rng(0)
    for sizes in ([2], [1, 3, 2], [9], [1, 1]):
        pixels = [random.integers(0, 255, (size, 5, 7, 3), np.uint8) for size in sizes]
        numbers = [random.standard_normal((size, 3, 5, 7), np.float32) for size in sizes]
        for parts in (pixels, numbers):
            np.testing.assert_array_equal(buffer.joined(parts).numpy(), np.concatenate(parts))


def test_memory_is_used_again() -> None:
    """By the same thread; another one has its own."""
    buffer = BatchBuffer(torch.device("cpu"))
    rows = np.ones((4, 2, 2, 3), np.uint8)
    first = buffer.joined([rows])
    assert buffer.joined([rows[:1], rows[1:3]]).data_ptr() == first.data_ptr()
    with ThreadPoolExecutor(1) as other:
        elsewhere = other.submit(buffer.joined, [rows * 2]).result()
    assert elsewhere.data_ptr() != first.data_ptr()
    assert int(first.sum()) == rows.size
