"""Evaluates the versions and datasets that callers name: reads both, decodes as training does, and measures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from model_store.architectures import Chain
from model_store.errors import InvalidInput, StorageFull
from model_store.manifests import Manifest
from model_store.modalities import Batch, Rows, load_input_spec, read_input_spec
from model_store.names import AliasName, ModelName, VersionName
from model_store.registry.datasets import DatasetStore
from model_store.registry.models import ModelStore
from training_service.arrays.array_cache import ArrayCache
from training_service.arrays.records import Positions
from training_service.datasets.manifest import DatasetManifest, read_manifest
from training_service.datasets.splits import ALL, Split
from training_service.devices import chosen_device
from training_service.evaluation.column_scores import ColumnScore, column_scores
from training_service.evaluation.evaluate_version import (
    Evaluation,
    check_evaluable,
    checked_task,
    evaluate_version,
    outputs_of,
    read_chain,
)
from training_service.evaluation.learned_rows import LearnedRows, learned_rows
from training_service.features.feature_cache import FeatureCache
from training_service.features.frozen_features import FrozenPrefix, before_fitted
from training_service.modalities import MODALITIES
from training_service.modalities.fitting import check_fits
from training_service.modalities.prepared_rows import PreparedDataset, prepare_dataset
from training_service.phases import Phase
from training_service.recipes.refitting import REFITTED
from training_service.settings import TrainingSettings
from training_service.tasks import TRAINING_TASKS

_DECODING_SHARE = 0.5

OnProgress = Callable[[Phase, float], object]


@dataclass(frozen=True)
class Evaluated:
    """One version on rows of one dataset; `positions` are those of the rows, in the evaluation's order.

    `num_learned` counts the rows that the version learned from, and `num_left_out` those that were left out for that.
    """

    version: VersionName
    dataset_id: str
    manifest: DatasetManifest
    data: PreparedDataset
    positions: Positions
    evaluation: Evaluation
    learned: LearnedRows
    num_learned: int
    num_left_out: int
    is_refitted: bool

    @property
    def warning(self) -> str:
        """Say that figures flatter a version that learned from some of the rows; nothing where it did not."""
        num_rows, how, why = len(self.positions), "was trained on, or chosen by,", ""
        share = self.num_learned / num_rows
        if self.is_refitted:
            how, why = "was trained on", " (its head was fitted again on training and validation rows together)"
        told = []
        if self.num_learned == num_rows:
            told.append(
                f"{self.version} {how} all {num_rows} of these rows{why}: the figures say how well it remembers them, "
                "and nothing of other rows"
            )
        elif self.num_learned:
            told.append(
                f"{self.version} {how} {self.num_learned} of these {num_rows} rows, {share:.0%}{why}: the "
                "figures flatter it; held_out leaves such rows out"
            )
        if self.learned.unknown:
            told.append(f"which rows it learned from in {', '.join(self.learned.unknown)} is not known any more")
        return "; ".join(told)


class Evaluator:
    """Evaluates on one device; safe to share between threads."""

    def __init__(
        self,
        store: ModelStore,
        datasets: DatasetStore,
        cache: ArrayCache,
        decoders: Executor,
        device: torch.device,
        *,
        scratch: Path,
        max_sizes: Mapping[str, int],
    ) -> None:
        self._store = store
        self._datasets = datasets
        self._cache = cache
        self._decoders = decoders
        self._device = device
        self._scratch = scratch
        self._max_sizes = max_sizes

    def evaluate(
        self,
        target: ModelName | AliasName | VersionName,
        dataset_id: str,
        split: str,
        *,
        on_progress: OnProgress,
        check_going_on: Callable[[], None],
        allow_unknown_labels: bool = False,
        leave_out: LearnedRows | None = None,
        allow_deleted: bool = False,
    ) -> Evaluated:
        """Measure a version on a split of a dataset, or on `all` of it.

        With `leave_out` the rows that the version learned from are left out, and these too. `on_progress` is told the
        phase and the share of all that is done. With `allow_deleted` a version may be a hidden one. Raises NotFound for
        a name that means nothing, InvalidInput where no row is left, and what `evaluate_version` raises.
        """
        name = target if allow_deleted and isinstance(target, VersionName) else self._store.resolve(target)
        record = self._store.get_version(name)
        version = self._store.manifest(record)
        check_evaluable(version)
        dataset = self._datasets.living(dataset_id)
        check_fits(read_input_spec(version.input_spec), str(name), dataset, "dataset")
        digest = dataset.digest
        manifest = read_manifest(self._store.blobs, digest)

        def on_decoded(num_done: int) -> None:
            check_going_on()
            on_progress(Phase.DECODING, num_done / len(manifest.rows) * _DECODING_SHARE)

        data = prepare_dataset(
            self._store.blobs,
            digest,
            manifest,
            MODALITIES[manifest.modality],
            load_input_spec(version.input_spec, self._store.blobs),
            cache=self._cache,
            threads=self._decoders,
            max_size=self._max_sizes[manifest.modality],
            on_rows=on_decoded,
        )
        positions = np.arange(len(data)) if split == ALL else data.positions[Split(split)]
        learned = learned_rows(self._store, self._datasets, record.lineage)
        is_learned = learned.among(manifest, positions)
        num_learned, num_left_out = int(is_learned.sum()), 0
        if leave_out is not None:
            is_learned |= leave_out.among(manifest, positions)
            num_learned, num_left_out = 0, int(is_learned.sum())
            positions = positions[~is_learned]
            if num_left_out and not len(positions):
                raise InvalidInput.of("split", f"has no row that {name} did not learn from: choose another one")

        def on_rows(num_done: int) -> None:
            on_progress(Phase.EVALUATING, _DECODING_SHARE + num_done / len(positions) * (1 - _DECODING_SHARE))

        try:
            evaluation = evaluate_version(
                self._store.blobs,
                version,
                data,
                manifest.task,
                positions,
                split=split,
                device=self._device,
                check_going_on=check_going_on,
                on_rows=on_rows,
                allow_unknown_labels=allow_unknown_labels,
            )
        except torch.OutOfMemoryError as error:
            raise StorageFull("the device has too little memory left for this: try again once no job runs") from error
        return Evaluated(
            name,
            dataset_id,
            manifest,
            data,
            positions,
            evaluation,
            learned=learned,
            num_learned=num_learned,
            num_left_out=num_left_out,
            is_refitted=bool(record.lineage.recipe.get(REFITTED)),
        )

    def column_scores(self, evaluated: Evaluated, check_going_on: Callable[[], None]) -> tuple[ColumnScore, ...]:
        """Return what each column of an evaluated version's examples says; nothing where they have none."""
        version = self._store.manifest(self._store.get_version(evaluated.version))
        spec = read_input_spec(version.input_spec)
        columns = MODALITIES[evaluated.manifest.modality].columns(spec, evaluated.manifest)
        if not columns:
            return ()
        chain = read_chain(self._store.blobs, version).to(self._device)
        chain, data, to_input = self._behind_unfitted(chain, version, evaluated)
        own = checked_task(version, evaluated.manifest.task)
        task = TRAINING_TASKS[own.kind]

        def metric_of(rows: Rows, positions: Positions) -> float:
            outputs = outputs_of(chain, to_input, rows, np.arange(len(rows)), self._device, check_going_on)
            matched = task.match(own, evaluated.manifest.task, data.targets[positions], allow_unknown=False)
            return task.validate(matched.chosen(outputs), matched.targets).metric

        return column_scores(columns, data, data.positions[Split.TRAIN], evaluated.positions, metric_of)

    def _behind_unfitted(
        self, chain: Chain, version: Manifest, evaluated: Evaluated
    ) -> tuple[Chain, PreparedDataset, Callable[[Batch], Batch]]:
        """Return the stages of a chain behind those that come before fitted ones, such as an encoder, and their input.

        These run once, or have done so when the version was trained: what comes behind is run for each column.
        """
        spec, data = read_input_spec(version.input_spec), evaluated.data
        stages = dict(chain.backbone)
        before = before_fitted(stages)
        if not 0 < len(before) < len(stages):
            return chain, data, spec.to_input
        digest = self._datasets.get(evaluated.dataset_id).digest
        cache = FeatureCache(self._cache, digest, version, spec, self._device)
        prefix = FrozenPrefix(before, MODALITIES[evaluated.manifest.modality], spec, self._device, cache)
        groups = [data.seen, data.positions[Split.TEST]]
        rows = prefix.run(data.rows, groups, folder=self._scratch, on_rows=lambda _: None)
        rest = [(name, stage) for name, stage in chain.named_children() if name not in before]
        return Chain(rest, chain.embedding_size), replace(data, rows=rows), lambda batch: batch


def build_evaluator(
    settings: TrainingSettings, store: ModelStore, datasets: DatasetStore, decoders: Executor
) -> Evaluator:
    """Return an evaluator that shares prepared rows with all jobs."""
    cache = ArrayCache(settings.cache_folder / "arrays", settings.array_cache_bytes)
    device = chosen_device(settings.device)
    scratch = settings.folder / "scratch"
    return Evaluator(store, datasets, cache, decoders, device, scratch=scratch, max_sizes=settings.max_sizes)
