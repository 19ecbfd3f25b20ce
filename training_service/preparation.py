"""Prepares the rows of a job's dataset by an input spec, and chooses that spec where the service may."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from model_store.architectures import Chain
from model_store.blobs import BlobStore
from model_store.manifests import Manifest
from model_store.modalities import InputSpec, load_input_spec
from training_service.arrays.array_cache import ArrayCache
from training_service.datasets.manifest import DatasetManifest, RowColumns
from training_service.datasets.packs import PackedRows
from training_service.datasets.splits import Split
from training_service.datasets.targets import TARGETS
from training_service.features.feature_cache import FeatureCache
from training_service.features.frozen_features import FrozenPrefix, embeddings
from training_service.modalities import LEARNERS, MODALITIES, TrainingModality
from training_service.modalities.prepared_rows import PreparedDataset, prepare_dataset
from training_service.phases import Phase
from training_service.recipes.recipe import ClassWeights, Recipe, RecipeName
from training_service.settings import TrainingSettings
from training_service.tasks import TRAINING_TASKS
from training_service.tasks.training_task import Targets
from training_service.training.heads import Features
from training_service.training.input_choice import InputChoice, choose_input, has_enough_rows
from training_service.training.progress import ProgressMeter

_MAX_TRIED_ROWS = 1_000


@dataclass(frozen=True)
class Preparation:
    """The dataset of a job, by its digest, and the base that it is prepared for.

    `check_going_on` is called again and again, and ends the job by raising.
    """

    blobs: BlobStore
    cache: ArrayCache
    settings: TrainingSettings
    device: torch.device
    base: Manifest
    digest: str
    dataset: DatasetManifest
    check_going_on: Callable[[], None]

    @property
    def modality(self) -> TrainingModality:
        """The modality of the examples."""
        return MODALITIES[self.dataset.modality]

    @cached_property
    def own_spec(self) -> InputSpec:
        """The base's input spec, with what the modality learns from the training examples where the base has none."""
        spec = load_input_spec(self.base.input_spec, self.blobs)
        learn = LEARNERS.get(self.dataset.modality)
        return spec if learn is None else learn(spec, self._training_examples(), self.blobs)

    def spec(self, fit: str) -> InputSpec:
        """Return the variant of the base's input spec with this name; without one its own."""
        return self.modality.variant(self.own_spec, fit) if fit else self.own_spec

    def chooses_input(self, recipe: Recipe) -> bool:
        """Say whether the service chooses the input spec: none is named, and there are weights to try several with."""
        return not recipe.fit and recipe.name is not RecipeName.SCRATCH and bool(self.modality.VARIANTS)

    def can_compare_inputs(self) -> bool:
        """Say whether there are enough rows to compare variants of the base's input spec by."""
        return has_enough_rows(self.sample().seen_targets(), TRAINING_TASKS[self.dataset.task.kind])

    def prepared(self, spec: InputSpec, on_rows: Callable[[int], None]) -> PreparedDataset:
        """Return the rows as a spec prepares them; `on_rows` is told how many are done."""

        def going_on(num_done: int) -> None:
            self.check_going_on()
            on_rows(num_done)

        with ThreadPoolExecutor(os.cpu_count()) as threads:
            return prepare_dataset(
                self.blobs,
                self.digest,
                self.dataset,
                self.modality,
                spec,
                cache=self.cache,
                threads=threads,
                max_size=self.settings.max_sizes[self.dataset.modality],
                on_rows=going_on,
            )

    def fitted(self, spec: InputSpec, on_rows: Callable[[int], None]) -> tuple[PreparedDataset, InputSpec]:
        """Return the rows as a spec prepares them, and the spec completed from the training rows."""
        data = self.prepared(spec, on_rows)
        fitted = self.modality.fitted_spec(spec, self.dataset, data.rows, data.positions[Split.TRAIN])
        if self.modality.preparation(fitted) != self.modality.preparation(spec):
            data = self.prepared(fitted, on_rows)
        return data, fitted

    def features(self, spec: InputSpec) -> FeatureCache:
        """Return the cache of what frozen stages put out for rows of this spec."""
        return FeatureCache(self.cache, self.digest, self.base, spec, self.device)

    def sample(self) -> Preparation:
        """Return the preparation of the rows to try specs on: all of a small dataset, whose rows are then used again.

        Of a larger one an even spread of 1,000 training and validation rows, which are in the order of their labels.
        """
        if len(self.dataset.rows) <= _MAX_TRIED_ROWS:
            return self
        seen = self._seen()
        places = np.linspace(0, len(seen) - 1, min(len(seen), _MAX_TRIED_ROWS)).round().astype(np.int64)
        rows = RowColumns.of(self.dataset.rows[place] for place in seen[places].tolist())
        digest = hashlib.sha256("".join(rows.sha256).encode()).hexdigest()
        return replace(self, digest=f"{self.digest}-{digest}", dataset=replace(self.dataset, rows=rows))

    def _training_examples(self) -> Iterator[bytes]:
        """Yield the bytes of the training examples."""
        with PackedRows(self.blobs, self.dataset.packs) as packs:
            for position in self.dataset.rows.positions(Split.TRAIN).tolist():
                self.check_going_on()
                yield packs.read(self.dataset.rows[position])

    def seen_targets(self) -> Targets:
        """Return the targets of training and validation rows, in their order."""
        return TARGETS[self.dataset.task.kind].array(self.dataset.task, self.dataset.rows)[self._seen()]

    def _seen(self) -> NDArray[np.int64]:
        """Return the positions of training and validation rows, in their order."""
        return np.setdiff1d(np.arange(len(self.dataset.rows)), self.dataset.rows.positions(Split.TEST))

    def embedded(self, chain: Chain, spec: InputSpec, folder: Path, on_rows: Callable[[int], None]) -> Features:
        """Return embeddings of training and validation rows, in order; `on_rows` is told how many more are done."""
        num_prepared = 0

        def on_prepared(num_done: int) -> None:
            nonlocal num_prepared
            on_rows(num_done - num_prepared)
            num_prepared = num_done

        def on_run(num_more: int) -> None:
            self.check_going_on()
            on_rows(num_more)

        data = self.prepared(spec, on_prepared)
        stages = dict(chain.to(self.device).backbone)
        prefix = FrozenPrefix(stages, self.modality, spec, self.device, self.features(spec))
        rows = prefix.run(data.rows, [data.seen], folder=folder, on_rows=on_run)
        return embeddings(rows)[data.seen]


def try_inputs(
    preparation: Preparation, chain: Chain, recipe: Recipe, folder: Path, meter: ProgressMeter
) -> InputChoice:
    """Try the variants of the base's input spec, and choose one; `chain` has the base's backbone.

    Of too few rows none is tried, nor prepared.
    """
    sample = preparation.sample()
    variants = sample.modality.variants(sample.own_spec, sample.dataset.rows.facts)
    if not sample.can_compare_inputs():
        return InputChoice(next(iter(variants)), 0, ())
    num_done = 0

    def on_rows(num_more: int) -> None:
        nonlocal num_done
        num_done += num_more
        meter.report(num_done)

    meter.begin(Phase.CHOOSING_INPUT, 2 * len(variants) * len(sample.dataset.rows))
    found = {name: sample.embedded(chain, spec, folder, on_rows) for name, spec in variants.items()}
    task, targets = TRAINING_TASKS[sample.dataset.task.kind], sample.seen_targets()
    scale = task.scale(targets)
    return choose_input(
        found,
        targets if scale is None else scale.scaled(targets),
        task,
        len(sample.dataset.task.names),
        is_balanced=recipe.class_weights is ClassWeights.BALANCED,
        check_going_on=sample.check_going_on,
    )
