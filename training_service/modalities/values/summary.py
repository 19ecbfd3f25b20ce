"""The summary of a dataset of rows of numbers for listings: the distribution of each feature."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training_service.datasets.columns import ColumnRole
from training_service.datasets.examples import Example
from training_service.datasets.manifest import DatasetManifest
from training_service.datasets.modality import Remarked

_SHOWN = 10


class ColumnSums:
    """Sums over rows of numbers: their least and greatest, mean, and mean square, each by column (Welford 1962)."""

    def __init__(self, size: int) -> None:
        self.num_rows = 0
        self.least, self.most = np.full(size, np.inf), np.full(size, -np.inf)
        self.mean, self.squares = np.zeros(size), np.zeros(size)

    def add(self, numbers: NDArray[np.float32]) -> None:
        """Take one row of finite numbers."""
        self.num_rows += 1
        row = numbers.astype(np.float64)
        np.minimum(self.least, row, out=self.least)
        np.maximum(self.most, row, out=self.most)
        difference = row - self.mean
        self.mean += difference / self.num_rows
        self.squares += difference * (row - self.mean)

    def add_summary(self, num_rows: int, summary: Sequence[Mapping[str, Any]]) -> None:
        """Take rows of which only a summary is known (Chan, Golub and LeVeque 1983)."""
        least, most, mean, std = (np.array([each[key] for each in summary]) for key in ("min", "max", "mean", "std"))
        total, difference = self.num_rows + num_rows, mean - self.mean
        np.minimum(self.least, least, out=self.least)
        np.maximum(self.most, most, out=self.most)
        self.squares += std**2 * num_rows + difference**2 * (self.num_rows * num_rows / total)
        self.mean += difference * (num_rows / total)
        self.num_rows = total

    def to_json(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """Return plain JSON values, a dictionary for each column."""
        std = np.sqrt(self.squares / self.num_rows)
        columns = zip(names, self.least, self.most, self.mean, std, strict=True)
        return [
            {"name": name, "min": float(low), "max": float(high), "mean": float(mean), "std": float(deviation)}
            for name, low, high, mean, deviation in columns
        ]


def summarise(
    manifest: DatasetManifest,
    new: Sequence[Example],  # noqa: ARG001  none is left out, so the sums are those of all
    observed: ColumnSums,
    parent: tuple[int, Mapping[str, Any]] | None,
) -> Remarked:
    """Return how the features of all rows are spread, and say which are the same everywhere."""
    names = [column.name for column in manifest.columns if column.role is ColumnRole.FEATURE]
    if parent is not None:
        num_rows, about = parent
        observed.add_summary(num_rows, about["features"])
    features = observed.to_json(names)
    constant = [each["name"] for each in features if math.isclose(each["min"], each["max"])]
    remarks = []
    if constant:
        more = f" and {len(constant) - _SHOWN} more" if len(constant) > _SHOWN else ""
        shown = ", ".join(map(repr, constant[:_SHOWN]))
        remarks.append(f"columns with the same number in every row say nothing: {shown}{more}")
    return Remarked({"num_features": len(names), "features": features}, remarks)
