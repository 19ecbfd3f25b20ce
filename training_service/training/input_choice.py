"""Chooses among ways to prepare examples for a base, by cross-validation of linear probes on the embeddings of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from training_service.tasks import TrainingTask
from training_service.tasks.cross_validation import NUM_FOLDS
from training_service.tasks.training_task import Numbers, Targets, Validation
from training_service.training.heads import Features, left_out_outputs

INPUT_CHOICE = "input_choice"
"""The hyperparameter of a version that holds what was tried, where the service chose the input spec."""
_NUM_ERRORS = 1.0
_MIN_ROWS = 30  # of fewer, the standard error itself is hardly known, and the choice would be chance


@dataclass(frozen=True)
class TriedInput:
    """One candidate: the task's metric and the mean loss of left-out rows.

    `gain` is by how much the loss is lower than with the base's own, and `gain_error` the standard error of that, both
    of the same rows, pair by pair.
    """

    name: str
    metric: float
    loss: float
    gain: float
    gain_error: float

    @property
    def is_better(self) -> bool:
        """Say whether it is better than the base's own by more than noise."""
        return self.gain > _NUM_ERRORS * self.gain_error


@dataclass(frozen=True)
class InputChoice:
    """What was chosen of what was tried on so many rows; the first one is the base's own."""

    name: str
    num_rows: int
    tried: tuple[TriedInput, ...]

    @property
    def reason(self) -> str:
        """Say in a sentence why it was chosen."""
        if not self.tried:
            return f"too few rows to try others: {self.name}, the base's own, stays"
        losses = ", ".join(f"{each.name} {each.loss:.3f}" for each in self.tried)
        told = (
            f"loss of left-out rows in {NUM_FOLDS}-fold cross-validation of a probe on {self.num_rows} rows: {losses}"
        )
        own = self.tried[0].name
        if self.name == own:
            return f"{told}; {own}, the base's own, stays: no other is better by more than a standard error"
        best = next(each for each in self.tried if each.name == self.name)
        ratio = f"by {best.gain:.3f}, with a standard error of {best.gain_error:.3f}"
        return f"{told}; {self.name} is chosen, better than {own}, the base's own, {ratio}"

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"name": self.name, "num_rows": self.num_rows, "tried": [asdict(each) for each in self.tried]}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote, whole numbers as floats too."""
        tried = tuple(TriedInput(**each) for each in values["tried"])
        return cls(values["name"], int(values["num_rows"]), tried)


def has_enough_rows(targets: Targets, task: TrainingTask) -> bool:
    """Say whether so many rows can be left out once that a difference between candidates is more than chance."""
    return int((task.folds(targets) >= 0).sum()) >= _MIN_ROWS


def choose_input(
    candidates: Mapping[str, Features],
    targets: Targets,
    task: TrainingTask,
    num_outputs: int,
    *,
    is_balanced: bool,
    check_going_on: Callable[[], None],
) -> InputChoice:
    """Return the candidate to prepare examples by; `candidates` are embeddings [n, d] of the same rows, own one first.

    There must be enough rows (`has_enough_rows`).
    Each row is predicted by a linear head that was fitted without it, with the strength of the lowest loss. The
    candidate of the lowest loss is chosen where it is lower than the own one's by more than a standard error of the
    paired differences, else the own one: of several candidates one is the best by chance where rows are few (the rule
    of one standard error: Breiman et al. 1984, "Classification and Regression Trees", section 3.4.3).
    `check_going_on` ends it by raising.
    """
    folds = task.folds(targets)
    left_out = folds >= 0
    own_losses: Numbers | None = None
    tried = []
    for name, features in candidates.items():
        check_going_on()
        outputs = left_out_outputs(features, targets, task, num_outputs, folds, is_balanced=is_balanced)
        losses = task.row_losses(outputs, targets[left_out])
        own_losses = losses if own_losses is None else own_losses
        tried.append(_tried(name, task.validate(outputs, targets[left_out]), own_losses - losses))
    best = min((each for each in tried if each.is_better), key=lambda each: each.loss, default=tried[0])
    return InputChoice(best.name, int(left_out.sum()), tuple(tried))


def _tried(name: str, found: Validation, gains: Numbers) -> TriedInput:
    error = float(gains.std(ddof=1) / np.sqrt(len(gains)))
    return TriedInput(name, found.metric, found.loss, float(gains.mean()), error)
