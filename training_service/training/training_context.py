"""What every recipe works with: the prepared data, a device, scratch space, and the way to report and to stop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from model_store import drift
from model_store.architectures import Chain, Head
from model_store.architectures.activation import activated
from model_store.calibration import chosen_rows
from model_store.drift import Reference
from model_store.modalities import InputSpec, Rows
from model_store.records.metrics import Metrics
from model_store.tasks import Task
from model_store.tensors.example_pack import spread
from training_service.arrays.records import Positions
from training_service.datasets.splits import Split
from training_service.features.feature_cache import FeatureCache
from training_service.features.frozen_features import FrozenPrefix
from training_service.modalities import TrainingModality
from training_service.modalities.prepared_rows import PreparedDataset
from training_service.modalities.views import View
from training_service.phases import Phase
from training_service.tasks import TRAINING_TASKS, TrainingTask
from training_service.tasks.target_scale import TargetScale
from training_service.tasks.training_task import Answers, Outputs, Targets
from training_service.training.checkpoints import Checkpoints, State
from training_service.training.cross_validation.folds import Fold
from training_service.training.input_choice import INPUT_CHOICE, InputChoice
from training_service.training.progress import Figures, ProgressMeter


@dataclass(frozen=True, eq=False)
class LeftOut:
    """Outputs [draws, n, outputs] of a recipe for the rows at some positions, each by a run without the row's fold."""

    positions: Positions
    outputs: Outputs

    def at(self, rows: NDArray[np.bool_]) -> LeftOut:
        """Return the outputs for some of all rows, bool [all rows]."""
        chosen = rows[self.positions]
        return LeftOut(self.positions[chosen], self.outputs[:, chosen])


@dataclass(frozen=True, eq=False)
class CrossValidating:
    """How the recipe of a small dataset is cross-validated: in at most so many seconds.

    Rows with one number in `groups`, int64 [n], must not be parted by folds. `is_held_out`, bool [n], says which rows
    no base of the version has learned from.
    """

    groups: NDArray[np.int64]
    is_held_out: NDArray[np.bool_]
    max_seconds: float


@dataclass(frozen=True)
class FineTuned:
    """A chain in eval mode, the stages that are not the base's any more, and how good it is on the test split.

    `head` is what the chain ends in. The `reference` tells later what rows were like, unless there were too few. The
    `answers` are those for the test rows, in their order; their task is the version's, calibrated. `left_out` are those
    of cross-validation, where there was one.
    """

    chain: Chain
    changed: tuple[str, ...]
    answers: Answers
    metrics: Metrics
    hyperparameters: Mapping[str, Any]
    head: Head
    reference: Reference | None
    left_out: LeftOut | None = None


@dataclass(frozen=True)
class TrainingContext:
    """One job's surroundings; `check_going_on` is called between batches and ends the job by raising.

    `tell` adds a line to the job's events, for whoever follows it; `remarks` are those that stay with the version.
    `spec` is the base's input spec with what the modality takes from the training rows, and `input_choice` what was
    tried where the service chose among its variants. `cross_validating` is None where a test split says enough.
    `saved` is where an earlier attempt was broken off; without `checkpoints` each attempt begins anew.
    """

    data: PreparedDataset
    modality: TrainingModality
    task: Task
    spec: InputSpec
    seed: int
    device: torch.device
    folder: Path
    meter: ProgressMeter
    check_going_on: Callable[[], None]
    tell: Callable[[str], None]
    features: FeatureCache
    checkpoints: Checkpoints | None = None
    saved: State | None = None
    input_choice: InputChoice | None = None
    remarks: list[str] = field(default_factory=list)
    cross_validating: CrossValidating | None = None

    @property
    def train(self) -> Positions:
        """Positions of the rows to train on."""
        return self.data.positions[Split.TRAIN]

    @property
    def validation(self) -> Positions:
        """Positions of the rows to choose on."""
        return self.data.positions[Split.VALIDATION]

    @property
    def test(self) -> Positions:
        """Positions of the rows that are held out to the end."""
        return self.data.positions[Split.TEST]

    @property
    def viewed(self) -> Positions:
        """Positions of the rows whose other views may be trained on: those to learn from, in cross-validation all."""
        return self.data.seen if self.cross_validating is None else np.arange(len(self.data))

    @property
    def training_task(self) -> TrainingTask:
        """What training asks of the dataset's task."""
        return TRAINING_TASKS[self.task.kind]

    @cached_property
    def scale(self) -> TargetScale | None:
        """How targets are scaled to train on, by those of the training rows."""
        return self.training_task.scale(self.data.targets[self.train])

    @cached_property
    def targets(self) -> Targets:
        """The targets of all rows as they are trained on."""
        return self.data.targets if self.scale is None else self.scale.scaled(self.data.targets)

    def targets_at(self, positions: Positions) -> Targets:
        """Return the targets of some rows as they are trained on."""
        return self.targets[positions]

    def for_fold(self, fold: Fold) -> TrainingContext:
        """Return surroundings with other splits, the rows left out as the test split; nothing is reported or saved."""
        positions = {Split.TRAIN: fold.learned, Split.VALIDATION: fold.chosen, Split.TEST: fold.out}
        return replace(
            self,
            data=replace(self.data, positions=positions),
            meter=self.meter.muted(),
            tell=lambda _: None,
            checkpoints=None,
            saved=None,
            remarks=[],
            cross_validating=None,
        )

    def remark(self, text: str) -> None:
        """Tell whoever follows the job, and keep it with the version."""
        self.remarks.append(text)
        self.tell(text)

    def calibration_rows(self) -> Rows:
        """Return some test rows, the same for every job: a linear probe is fitted on all the others.

        For a dataset without a pack of them.
        """
        chosen = self.test[chosen_rows(len(self.test), self.spec)]
        return Rows({name: array[chosen] for name, array in self.data.rows.arrays.items()}, len(chosen))

    def save_if_due(self, step: int, make_state: Callable[[], State]) -> None:
        """Keep the state after so many steps, if it is time to: the next attempt prepares its rows in the same way."""
        if self.checkpoints is not None:
            chosen = self.input_choice.to_json() if self.input_choice is not None else None
            self.checkpoints.save_if_due(step, lambda: {**make_state(), INPUT_CHOICE: chosen})

    def begin(self, phase: Phase, num_items: int = 1, *, of_examples: bool = False) -> None:
        """Open a phase of the progress, unless the job is to stop."""
        self.check_going_on()
        self.meter.begin(phase, num_items, of_examples=of_examples)

    def report(self, num_done: int, figures: Callable[[], Figures] = Figures, *, is_milestone: bool = False) -> None:
        """Report within the phase, unless the job is to stop."""
        self.check_going_on()
        self.meter.report(num_done, figures, is_milestone=is_milestone)

    def activations(self, stages: Mapping[str, nn.Module], views: Sequence[View], viewed: Positions) -> list[Rows]:
        """Run the base's first stages over all rows, and over other views of some; rows are in their own places.

        Test rows run by themselves: the others may have run already, when the input spec was chosen.
        """
        prefix = FrozenPrefix(stages, self.modality, self.spec, self.device, self.features)
        num_done = 0

        def on_rows(count: int) -> None:
            nonlocal num_done
            num_done += count
            self.report(num_done)

        self.begin(Phase.COMPUTING_FEATURES, len(self.data) + len(views) * len(viewed), of_examples=True)
        plain = prefix.run(self.data.rows, [self.data.seen, self.test], folder=self.folder, on_rows=on_rows)
        others = [
            prefix.run(self.data.rows, [viewed], folder=self.folder, on_rows=on_rows, view=view) for view in views
        ]
        return [plain, *others]

    def output_of(self, stages: Mapping[str, nn.Module]) -> Rows:
        """Return the output of the base's first stages for all rows, in their own places."""
        return self.activations({name: stage.to(self.device) for name, stage in stages.items()}, [], self.train)[0]

    def answers(self, outputs: Outputs, validation_outputs: Outputs) -> Answers:
        """Return the answers for the test rows, whose outputs are in the targets' own units.

        The temperature is fitted on the outputs for the validation rows, in the units that were trained on.
        """
        targets = self.targets_at(self.validation)
        task = self.training_task.calibrated(self.task, validation_outputs, targets)
        found = self.training_task.validate(validation_outputs, targets) if len(targets) else None
        return Answers(outputs, self.data.targets[self.test], task, found)

    def tuned(
        self,
        chain: Chain,
        changed: tuple[str, ...],
        answers: Answers,
        hyperparameters: Mapping[str, Any],
        embed: Callable[[Positions], NDArray[np.float32]],
        head: Head | None = None,
    ) -> FineTuned:
        """Measure what came of training; `embed` gives embeddings of rows. The head is linear unless one is given."""
        metrics = self.training_task.measure(answers, Split.TEST)
        chosen = {INPUT_CHOICE: self.input_choice.to_json()} if self.input_choice is not None else {}
        head = head or linear_head(answers.task)
        reference = self._reference(answers, embed)
        return FineTuned(chain, changed, answers, metrics, {**hyperparameters, **chosen}, head, reference)

    def _reference(self, answers: Answers, embed: Callable[[Positions], NDArray[np.float32]]) -> Reference | None:
        train, test = (spread(len(each), drift.MAX_ROWS) for each in (self.train, self.test))
        task, outputs = answers.task, torch.from_numpy(answers.outputs[test])
        scores = activated(outputs, task.activation, task.temperature).numpy()
        return Reference.of(embed(self.train[train]), embed(self.test[test]), scores, task.activation)


def linear_head(task: Task) -> Head:
    """Return the linear head of a task."""
    return Head("linear", len(task.names), task.activation)
