"""Rows are put together in memory that is used again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from inference_service.execution.batch_buffer import BatchBuffer
from model_store.modalities import Rows


def test_rows_of_any_kind_come_in_order() -> None:
    """Smaller and larger than what came before, pixels and numbers, one part and several."""
    buffer = BatchBuffer(torch.device("cpu"))
    random = np.random.default_rng(0)
    for sizes in ([2], [1, 3, 2], [9], [1, 1]):
        pixels = [random.integers(0, 255, (size, 5, 7, 3), np.uint8) for size in sizes]
        numbers = [random.standard_normal((size, 3, 5, 7), np.float32) for size in sizes]
        for parts in (pixels, numbers):
            joined = buffer.joined([Rows({"x": part, "length": part[:, :1, 0, 0]}, len(part)) for part in parts])
            assert len(joined) == sum(sizes)
            np.testing.assert_array_equal(joined.x.numpy(), np.concatenate(parts))
            np.testing.assert_array_equal(joined.tensors["length"].numpy(), joined.x.numpy()[:, :1, 0, 0])


def test_memory_is_used_again() -> None:
    """By the same thread; another one has its own."""
    buffer = BatchBuffer(torch.device("cpu"))
    rows = Rows({"x": np.ones((4, 2, 2, 3), np.uint8)}, 4)
    first = buffer.joined([rows]).x
    assert buffer.joined([rows[:1], rows[1:3]]).x.data_ptr() == first.data_ptr()
    with ThreadPoolExecutor(1) as other:
        elsewhere = other.submit(buffer.joined, [Rows({"x": rows.arrays["x"] * 2}, 4)]).result().x
    assert elsewhere.data_ptr() != first.data_ptr()
    assert int(first.sum()) == rows.size_bytes
    assert buffer.holds(first[1:])
    assert not buffer.holds(elsewhere)
