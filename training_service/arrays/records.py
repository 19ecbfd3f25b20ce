"""Rows with several arrays each as one array of records, so that one file holds them all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Positions: TypeAlias = NDArray[np.int64]
"""Places of rows in arrays."""


def record_of(arrays: Mapping[str, NDArray[Any]]) -> np.dtype[Any]:
    """Return the type of a record that holds one row of each of these arrays, [n, …] each."""
    return np.dtype([(name, array.dtype, array.shape[1:]) for name, array in sorted(arrays.items())])


def padded(rows: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Return rows [n, …] with zeros behind those of fewer elements than a row of this shape has.

    These are the places that a shorter sequence leaves, and its mask leaves out.
    """
    if rows.shape[1:] == shape:
        return rows
    whole = np.zeros((len(rows), *shape), rows.dtype)
    whole[tuple(map(slice, rows.shape))] = rows
    return whole


def arrays_of(records: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Return the arrays in records [n], by name: views [n, …]."""
    return {name: records[name] for name in records.dtype.names or ()}
