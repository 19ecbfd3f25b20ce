"""What every recipe works with: the decoded data, a device, scratch space, and the way to report and to stop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from model_store.architectures import Chain
from model_store.calibration import chosen_rows
from model_store.modalities import Rows
from model_store.modalities.image.spec import PIXELS, ImageInputSpec
from model_store.records.metrics import ClassificationDetail, Metrics
from training_service.datasets.splits import Split
from training_service.features.feature_cache import FeatureCache
from training_service.features.frozen_features import Activations, FrozenPrefix
from training_service.modalities.image.augment import View
from training_service.modalities.image.pixels import LabelledPixels, Positions
from training_service.phases import Phase
from training_service.tasks.classification.metrics import Labels, Logits, measure
from training_service.tasks.classification.temperature import fit_temperature
from training_service.training.checkpoints import Checkpoints, State
from training_service.training.progress import Figures, ProgressMeter


@dataclass(frozen=True)
class FineTuned:
    """A chain in eval mode, the stages that are not the base's any more, and how good it is on the test split.

    The `temperature` is that of the version; `logits` are those of the test rows, in their order.
    """

    chain: Chain
    changed: tuple[str, ...]
    metrics: Metrics
    logits: Logits
    hyperparameters: Mapping[str, Any]

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the logits."""
        return tuple(each.label for each in self._detail.labels)

    @property
    def temperature(self) -> float:
        """What the logits are divided by."""
        return self._detail.temperature

    @property
    def _detail(self) -> ClassificationDetail:
        if not isinstance(self.metrics.detail, ClassificationDetail):
            raise TypeError("the metrics are not those of a classification")
        return self.metrics.detail


@dataclass(frozen=True)
class TrainingContext:
    """One job's surroundings; `check_going_on` is called between batches and ends the job by raising.

    `tell` adds a line to the job's events, for whoever follows it; `remarks` are those that stay with the version.
    Without `checkpoints` a job that is broken off begins anew.
    """

    data: LabelledPixels
    labels: Sequence[str]
    spec: ImageInputSpec
    seed: int
    device: torch.device
    folder: Path
    meter: ProgressMeter
    check_going_on: Callable[[], None]
    tell: Callable[[str], None]
    features: FeatureCache
    checkpoints: Checkpoints | None = None
    remarks: list[str] = field(default_factory=list)

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

    def labels_at(self, positions: Positions) -> Labels:
        """Return the labels of some rows."""
        labels: Labels = self.data.labels[positions]
        return labels

    def remark(self, text: str) -> None:
        """Tell whoever follows the job, and keep it with the version."""
        self.remarks.append(text)
        self.tell(text)

    def calibration_rows(self) -> Rows:
        """Return some test rows, the same for every job: a linear probe is fitted on all the others."""
        chosen = self.test[chosen_rows(len(self.test), self.spec)]
        return Rows({PIXELS: self.data.pixels[chosen]}, len(chosen))

    def saved_state(self) -> State | None:
        """Return where an earlier attempt at this job was broken off; None for a fresh start."""
        return self.checkpoints.load() if self.checkpoints is not None else None

    def save_if_due(self, step: int, make_state: Callable[[], State]) -> None:
        """Keep the state after so many steps, if it is time to."""
        if self.checkpoints is not None:
            self.checkpoints.save_if_due(step, make_state)

    def begin(self, phase: Phase, num_items: int = 1, *, of_examples: bool = False) -> None:
        """Open a phase of the progress, unless the job is to stop."""
        self.check_going_on()
        self.meter.begin(phase, num_items, of_examples=of_examples)

    def report(self, num_done: int, figures: Callable[[], Figures] = Figures, *, is_milestone: bool = False) -> None:
        """Report within the phase, unless the job is to stop."""
        self.check_going_on()
        self.meter.report(num_done, figures, is_milestone=is_milestone)

    def activations(
        self, stages: Mapping[str, nn.Module], views: Sequence[View], viewed: Positions
    ) -> tuple[Activations, list[Activations]]:
        """Run the base's first stages over all rows, and over other views of some: float32 [n, …] each, by position."""
        prefix = FrozenPrefix(stages, self.spec, self.device, self.features)
        everything = np.arange(len(self.data.labels))
        num_done = 0

        def on_rows(count: int) -> None:
            nonlocal num_done
            num_done += count
            self.report(num_done)

        self.begin(Phase.COMPUTING_FEATURES, len(everything) + len(views) * len(viewed), of_examples=True)
        plain = prefix.run(self.data.pixels, everything, folder=self.folder, on_rows=on_rows)
        others = [
            prefix.run(self.data.pixels, viewed, folder=self.folder, on_rows=on_rows, view=view) for view in views
        ]
        return plain, others

    def measured(self, logits: Logits, validation_logits: Logits) -> Metrics:
        """Measure logits of the test rows, divided by the temperature that suits those of the validation rows."""
        temperature = fit_temperature(validation_logits, self.labels_at(self.validation))
        return measure(logits, self.labels_at(self.test), self.labels, Split.TEST, temperature)
