"""Assigns rows with several attributes each to splits, so that every attribute has its share in every split.

Iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011, "On the Stratification of Multi-Label Data"): the
attribute with the fewest rows left is assigned first, each of its rows to the split that needs most of them.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from training_service.datasets.splits import HELD_OUT, Split, SplitSpec, follow_groups, needed_rows, units_in_order

Attributes = Sequence[Collection[Hashable]]
_Needs = dict[Split, int]
_ORDER = (*HELD_OUT, Split.TRAIN)


def assign_stratified(
    digests: Sequence[str],
    attributes: Attributes,
    spec: SplitSpec,
    *,
    groups: Sequence[int] | NDArray[np.int64],
    fixed: Sequence[Split | None],
    held_out: Collection[Split],
) -> list[Split]:
    """Return a split for each row, in their order; `attributes` of a row may be empty.

    Rows of one group go to one split: the split of a `fixed` row among them, or the split with the largest need. Only
    splits in `held_out` and training get rows. With fewer groups than splits each row is assigned by itself. The result
    depends on the arguments alone, and on no order of distinct digests.
    """
    splits = list(fixed)
    follow_groups(splits, groups, held_out)
    units = units_in_order(splits, digests, spec, groups)
    if len(units) <= len(held_out):
        units = units.apart()
    assignment = _Assignment(splits, attributes, spec, held_out)
    waiting: dict[Hashable, list[int]] = {}
    for number, unit in enumerate(units):
        for attribute in _attributes_of(unit, attributes):
            waiting.setdefault(attribute, []).append(number)
    num_left = {attribute: len(numbers) for attribute, numbers in waiting.items()}
    left = dict(enumerate(units))
    while waiting:
        rarest = min(waiting, key=lambda attribute: (num_left[attribute], str(attribute)))
        for unit in [left.pop(number) for number in waiting.pop(rarest) if number in left]:
            assignment.give(unit, rarest)
            for attribute in _attributes_of(unit, attributes):
                num_left[attribute] -= 1
    for unit in left.values():
        assignment.give(unit, None)
    return [split or Split.TRAIN for split in splits]


class _Assignment:
    """The splits of rows during the assignment, and the rows of each attribute that each split still needs."""

    def __init__(
        self, splits: list[Split | None], attributes: Attributes, spec: SplitSpec, held_out: Collection[Split]
    ) -> None:
        self._splits = splits
        self._attributes = attributes
        members: dict[Hashable, list[Split | None]] = {}
        for row, split in enumerate(splits):
            for attribute in attributes[row]:
                members.setdefault(attribute, []).append(split)
        self._rows = _needs(splits, spec, held_out)
        self._needs = {attribute: _needs(found, spec, held_out) for attribute, found in members.items()}

    def give(self, unit: Sequence[int], attribute: Hashable | None) -> None:
        """Assign the rows of a unit to the split that needs the attribute most, or needs rows most."""
        needs: Mapping[Split, int] = self._rows if attribute is None else self._needs[attribute]
        split = max(needs, key=lambda each: (needs[each], self._rows[each], -_ORDER.index(each)))
        for row in unit:
            self._splits[row] = split
            self._rows[split] -= 1
            for each in self._attributes[row]:
                self._needs[each][split] -= 1


def _attributes_of(unit: Sequence[int], attributes: Attributes) -> set[Hashable]:
    return {each for row in unit for each in attributes[row]}


def _needs(splits: Sequence[Split | None], spec: SplitSpec, held_out: Collection[Split]) -> _Needs:
    needed = needed_rows(splits, spec, held_out)
    return {**needed, Split.TRAIN: sum(split is None for split in splits) - sum(needed.values())}
