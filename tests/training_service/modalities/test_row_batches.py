"""Rows put into a batch: sequences are cut after the longest of them, and columns beside them never are."""

from __future__ import annotations

import numpy as np

from model_store.modalities import Rows
from training_service.modalities.prepared_rows import batch_at


def test_columns_are_whole_beside_a_text_of_as_many_tokens() -> None:
    """A table of eight numbers has the shape of a mask of eight tokens."""
    lengths = np.array([3, 8, 5])
    mask = np.arange(8) < lengths[:, None]
    numbers = np.arange(24, dtype=np.float32).reshape(3, 8)
    rows = Rows(
        {"numbers": numbers, "categories": np.ones((3, 8), np.int64), "ids": mask.astype(np.int32), "mask": mask}, 3
    )
    batch = batch_at(rows, np.array([0, 2]))
    assert {name: tuple(each.shape) for name, each in batch.tensors.items()} == {
        "numbers": (2, 8), "categories": (2, 8), "ids": (2, 5), "mask": (2, 5),
    }  # fmt: skip
    np.testing.assert_array_equal(batch.tensors["numbers"], numbers[[0, 2]])
