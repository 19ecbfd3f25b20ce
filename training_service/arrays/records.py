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


def put_part(whole: NDArray[Any], part: NDArray[Any]) -> None:
    """Write an array into the first places of one of the same dimensions: a shorter row leaves the others as they are.

    Places that a shorter sequence leaves are those of padding, which its mask leaves out.
    """
    whole[tuple(map(slice, part.shape))] = part


def arrays_of(records: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Return the arrays in records [n], by name: views [n, …]."""
    return {name: records[name] for name in records.dtype.names or ()}
