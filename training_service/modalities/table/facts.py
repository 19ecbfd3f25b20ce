"""What is known of the cells of a column, gathered in bounded memory: types that all fit, and a distribution."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from model_store.modalities.table.cells import BOOLEANS, MAX_NUMBER, MISSING, date_of

MAX_DISTINCT = 100_000
_MAX_DECIMALS = 10_000  # of distinct numbers with decimals: no rule asks for more
_TOP = 20


@dataclass
class ColumnFacts:
    """Counts over the cells of a column; `counts` are those of distinct texts, up to a limit, None beyond it."""

    num_cells: int = 0
    num_missing: int = 0
    is_number: bool = True
    is_integer: bool = True
    is_boolean: bool = True
    is_date: bool = True
    least: float = math.inf
    most: float = -math.inf
    mean: float = 0.0
    squares: float = 0.0
    text_length: int = 0
    counts: Counter[str] | None = field(default_factory=Counter)

    @property
    def num_present(self) -> int:
        """The number of cells that are not missing."""
        return self.num_cells - self.num_missing

    @property
    def num_distinct(self) -> int:
        """The number of distinct texts, or one more than the limit."""
        return MAX_DISTINCT + 1 if self.counts is None else len(self.counts)

    def add(self, cells: Sequence[str]) -> None:
        """Take the cells of some rows."""
        present = [cell for cell in cells if cell not in MISSING]
        self.num_cells += len(cells)
        self.num_missing += len(cells) - len(present)
        if not present:
            return
        different = set(present)
        if self.is_number:
            self._add_numbers(present)
        self.is_boolean = self.is_boolean and all(each.lower() in BOOLEANS for each in different)
        self.is_date = self.is_date and all(date_of(each) is not None for each in different)
        if not self.is_number:
            self.text_length += sum(map(len, present))
        if self.counts is not None:
            self.counts.update(present)
            if len(self.counts) > (_MAX_DECIMALS if self.is_number and not self.is_integer else MAX_DISTINCT):
                self.counts = None

    def merge(self, num_cells: int, values: Mapping[str, Any]) -> None:
        """Take the cells of which only the summary is known, as `to_json` gives it (Chan, Golub and LeVeque 1983)."""
        self.num_cells += num_cells
        self.num_missing += values["num_missing"]
        present = num_cells - values["num_missing"]
        if "mean" in values and present:
            known = np.array([values["mean"], values["std"] ** 2 * present])
            self._merge_moments(present, float(known[0]), float(known[1]), self.num_present - present)
            self.least, self.most = min(self.least, values["min"]), max(self.most, values["max"])
        if self.counts is not None:
            self.counts.update(dict(values.get("counts", ())))

    def to_json(self) -> dict[str, Any]:
        """Return what is shown of the column, as plain JSON values."""
        values: dict[str, Any] = {"num_missing": self.num_missing}
        if self.is_number and self.num_present:
            std = math.sqrt(max(self.squares, 0.0) / self.num_present)
            values |= {"min": self.least, "max": self.most, "mean": self.mean, "std": std}
        elif self.counts is not None:
            values["num_categories"] = len(self.counts)
            values["counts"] = [list(each) for each in sorted(self.counts.items(), key=_by_count)[:_TOP]]
        return values

    @classmethod
    def of(cls, cells: Sequence[str]) -> Self:
        """Return the facts of these cells."""
        facts = cls()
        facts.add(cells)
        return facts

    def _add_numbers(self, present: Sequence[str]) -> None:
        try:
            values = np.array(list(map(float, present)))
        except ValueError:
            values = np.array([math.nan])
        if not (np.abs(values) <= MAX_NUMBER).all() or "_" in "".join(present):  # as of `number_of`
            self.is_number = self.is_integer = False
            return
        self.is_integer = self.is_integer and all(cell.lstrip("+-").isdigit() for cell in present)
        mean = float(values.mean())
        before = self.num_present - len(present)
        self._merge_moments(len(present), mean, float(np.square(values - mean).sum()), before)
        self.least, self.most = min(self.least, float(values.min())), max(self.most, float(values.max()))

    def _merge_moments(self, count: int, mean: float, squares: float, before: int) -> None:
        difference, total = mean - self.mean, before + count
        self.squares += squares + difference**2 * before * count / total
        self.mean += difference * count / total


def _by_count(counted: tuple[str, int]) -> tuple[int, str]:
    return -counted[1], counted[0]
