"""What training, evaluation, the gate and reports ask of a task: plain functions in one frozen dataclass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from model_store.records.metrics import Metrics
from model_store.tasks import Task
from training_service.markup.sections import Section, Table
from training_service.tasks.sampled import Sampled
from training_service.tasks.target_scale import TargetScale

Outputs = NDArray[np.float32]
"""What a head gives, [n, outputs]."""
Targets = NDArray[Any]
"""What is true of rows, as the task has it: int64 [n] labels, or float32 [n, outputs]."""
Numbers = NDArray[np.float64]

Loss = Callable[[Tensor, Tensor], Tensor]
"""The sum over rows of the loss of outputs [n, outputs] against targets [n, …]; computed in float32."""


class MakeLoss(Protocol):
    """Makes the loss of a training."""

    def __call__(self, targets: Targets, num_outputs: int, /, *, smoothing: float, is_balanced: bool) -> Loss:
        """Return the loss; `targets` are those of all rows to train on, whose frequencies balance it where asked."""
        ...


class MakeFolds(Protocol):
    """Assigns rows to folds."""

    def __call__(self, targets: Targets, num_folds: int = ..., /) -> NDArray[np.int64]:
        """Return the fold of each of the targets; five folds where nothing else is asked for."""
        ...


class FitHead(Protocol):
    """Fits a linear head on rows float64 [n, d] that are standardised."""

    def __call__(
        self, rows: Numbers, targets: Targets, num_outputs: int, strength: float, /, *, is_balanced: bool
    ) -> tuple[Numbers, Numbers]:
        """Return the weight [outputs, d] and the bias [outputs]; `strength` is the inverse of the L2 penalty."""
        ...


@dataclass(frozen=True)
class Metric:
    """How one metric is written and compared. A share is 0 to 1, and drawn as such; a quantity has any size.

    `sampled` gives the metric of bootstrap samples of the answers' rows, NaN where it has no value. A metric that is a
    share of right rows has `is_right`, which says of each row whether it is right, [n].
    """

    title: str
    sampled: Callable[[Answers], Sampled]
    is_right: Callable[[Answers], NDArray[np.bool_]] | None = None
    is_better_lower: bool = False
    is_share: bool = True
    is_quantity: bool = False
    unit: str = ""

    def text(self, value: float) -> str:
        """Write a value: with three decimals, or a quantity with four digits."""
        return f"{value:z.4g}" if self.is_quantity else f"{value:z.3f}"


@dataclass(frozen=True)
class Validation:
    """How good outputs are on validation rows, by the task's loss and by the metric that sums it up."""

    metric: float
    loss: float


@dataclass(frozen=True)
class Answers:
    """Outputs of a version for some rows, in their order, beside the targets; `task` names the outputs.

    `validation` says how good a head that has not seen the validation rows was on these.
    """

    outputs: Outputs
    targets: Targets
    task: Task
    validation: Validation | None = None

    def __len__(self) -> int:
        return len(self.targets)

    def at(self, rows: NDArray[np.bool_]) -> Answers:
        """Return the answers for some rows."""
        return Answers(self.outputs[rows], self.targets[rows], self.task)


@dataclass(frozen=True)
class Matched:
    """Targets of a dataset as a version would answer them.

    `task` is the version's, with all names that are measured. `columns` are the version's outputs for these, -1 where
    it has none. `unknown` are the names that the version lacks.
    """

    task: Task
    targets: Targets
    columns: NDArray[np.int64]
    unknown: tuple[str, ...] = ()

    def chosen(self, outputs: Outputs) -> Outputs:
        """Return the outputs for the task's names, of the version's; -inf for one that it lacks."""
        chosen = outputs[:, self.columns]
        chosen[:, self.columns < 0] = -np.inf
        return chosen


@dataclass(frozen=True)
class Baseline:
    """The plain answer that a first version is compared with: `outputs` [outputs] of every row, and a phrase."""

    outputs: Outputs
    text: str


class Match(Protocol):
    """Matches the names of a dataset's targets with a version's."""

    def __call__(self, version: Task, dataset: Task, targets: Targets, /, *, allow_unknown: bool) -> Matched:
        """Return the targets for the version's names; raise InvalidInput for a name that it lacks, unless allowed."""
        ...


@dataclass(frozen=True)
class Mistake:
    """One row, by its place among the answers: what was answered, and what is true."""

    row: int
    answer: str
    truth: str


@dataclass(frozen=True)
class Mistakes:
    """The rows that answers are most wrong about, the worst first, and a sentence on how many there are."""

    note: str
    rows: Sequence[Mistake]


@dataclass(frozen=True)
class TrainingTask:
    """One task. All functions are pure; arrays are of `Outputs` and `Targets`.

    `metrics` are all that a gate can go by; `headline` is the one that sums a version up: more is better.
    `is_balanced` and `smoothing` mean something where `has_classes`. `strengths` are those to choose a linear head's
    regularisation from.
    """

    kind: str
    headline: str
    metrics: Mapping[str, Metric]
    has_classes: bool
    strengths: Sequence[float]
    make_loss: MakeLoss
    guessing_loss: Callable[[Targets], float]
    """The loss of the best answer that is the same for all rows."""
    row_losses: Callable[[Outputs, Targets], Numbers]
    """The loss of each row, [n], whose mean is that of `validate`."""
    folds: MakeFolds
    """The fold of each row in cross-validation, from 0; -1 for one that is never left out."""
    validate: Callable[[Outputs, Targets], Validation]
    scale: Callable[[Targets], TargetScale | None]
    """How targets are scaled to train on; None where they are taken as they are."""
    fit_head: FitHead
    calibrated: Callable[[Task, Outputs, Targets], Task]
    """The task with the temperature that suits outputs for rows which the head was not fitted on."""
    measure: Callable[[Answers, str], Metrics]
    """The metrics of answers on a split."""
    baseline: Callable[[Task, Targets], Baseline]
    """The plain answer, by the targets of training rows."""
    match: Match
    sections: Callable[[Metrics, Answers | None], Sequence[Section]]
    """What a report shows of metrics, and of the answers that they were measured on where these are at hand."""
    mistakes: Callable[[Answers, int], Mistakes]
    """The rows that answers are most wrong about, so many of them at most."""
    describe_targets: Callable[[Mapping[str, Any]], Table]
    """What a report shows of a dataset's targets, by the statistics in its summary."""
