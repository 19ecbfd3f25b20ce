"""The rows of a CSV file as arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from maas_client.files.tables import Unusable, number_rows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def rows_in(file: Path) -> Sequence[tuple[str, Callable[[], NDArray[np.float32]]]]:
    """Return the name of each row and what reads it, float32 [numbers]; raise Unusable where there is none."""
    if file.suffix.lower() != ".csv":
        raise Unusable(f"must be a CSV file of numbers, which {file} is not")
    rows = [(name, partial(_array, read)) for name, read in number_rows(file)]
    if not rows:
        raise Unusable(f"there are no rows in {file}")
    return rows


def _array(read: Callable[[], Sequence[float]]) -> NDArray[np.float32]:
    import numpy as np

    return np.array(read(), np.float32)
