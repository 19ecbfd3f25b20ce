"""The comparison of the gate: a new version and the one behind the alias, on test rows that neither learned from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from model_store.errors import (
    AliasNotFound,
    DamagedStore,
    IllegalState,
    InvalidInput,
    InvalidManifest,
    ModelNotFound,
    StoreError,
)
from model_store.names import AliasName, VersionName
from model_store.records.jobs import JobSpec
from model_store.records.metrics import Metrics
from model_store.records.promotion import PromotionSpec
from model_store.records.resources import Lineage
from model_store.registry.datasets import DatasetStore
from model_store.registry.models import ModelStore
from model_store.tasks import Task
from training_service.datasets.manifest import read_manifest
from training_service.datasets.splits import Split
from training_service.evaluation.difference import difference
from training_service.evaluation.evaluate_version import checked_task
from training_service.evaluation.evaluator import Evaluated, Evaluator
from training_service.evaluation.learned_rows import LearnedRows, learned_rows
from training_service.promotion.gate import Incumbent, LeftOut
from training_service.tasks import TRAINING_TASKS
from training_service.training.training_context import FineTuned


@dataclass(frozen=True)
class Compared:
    """Metrics of a new version on the rows that are left, None where none is, and the version behind the alias."""

    metrics: Metrics | None
    incumbent: Incumbent | None
    left_out: LeftOut


class Comparison:
    """Measures both versions of a comparison."""

    def __init__(self, store: ModelStore, datasets: DatasetStore, evaluator: Evaluator) -> None:
        self._store = store
        self._datasets = datasets
        self._evaluator = evaluator

    def measured(self, spec: JobSpec, asked: PromotionSpec, tuned: FineTuned, check: Callable[[], None]) -> Compared:
        """Measure a job's new version and the one behind the alias on rows of the test split that are held out of both.

        They are compared by the metric that is asked for. Rows with labels that the other one lacks count as wrong for
        it. `check` ends this by raising.
        """
        own = self.learned(Lineage(spec.base, spec.dataset_id, recipe=spec.recipe))
        name = self._behind(AliasName(spec.model_id, asked.alias))
        learned = own if name is None else own | self.learned(self._store.get_version(name).lineage)
        manifest = read_manifest(self._store.blobs, self._datasets.get(spec.dataset_id).digest)
        test = manifest.rows.positions(Split.TEST)
        is_left, incumbent = ~learned.among(manifest, test), None
        if name is not None:
            incumbent = Incumbent(name, None, self._other_task(name, manifest.task))
        task = TRAINING_TASKS[tuned.answers.task.kind]
        if name is not None and is_left.any():
            beside = evaluated_beside(self._evaluator, name, spec.dataset_id, own, check)
            if isinstance(beside, str):
                incumbent = Incumbent(name, None, beside)
            else:
                is_left &= np.isin(test, beside.positions)
                other = beside.evaluation.answers.at(np.isin(beside.positions, test[is_left]))
                found = difference(task, tuned.answers.at(is_left), other, asked.metric) if len(other) else None
                incumbent = Incumbent(name, found)
        metrics = task.measure(tuned.answers.at(is_left), Split.TEST) if is_left.any() else None
        return Compared(metrics, incumbent, LeftOut(int((~is_left).sum()), learned.unknown))

    def learned(self, lineage: Lineage) -> LearnedRows:
        """Return the rows that a version of this lineage learned from."""
        return learned_rows(self._store, self._datasets, lineage)

    def _behind(self, alias: AliasName) -> VersionName | None:
        try:
            return self._store.get_alias(alias).version
        except (AliasNotFound, ModelNotFound):
            return None

    def _other_task(self, name: VersionName, task: Task) -> str:
        """Return a remark if a version has another task than a dataset; else an empty text."""
        try:
            checked_task(self._store.manifest(self._store.get_version(name)), task)
        except (InvalidInput, IllegalState) as error:
            return _obstacle(name, error)
        return ""


def evaluated_beside(
    evaluator: Evaluator, name: VersionName, dataset_id: str, leave_out: LearnedRows, check: Callable[[], None]
) -> Evaluated | str:
    """Evaluate a version on the test rows that neither it learned from nor another one, whose rows to `leave_out`.

    Rows with labels that it lacks count as wrong for it. Where it cannot be measured, return a text that says why.
    """
    try:
        return evaluator.evaluate(
            name,
            dataset_id,
            Split.TEST,
            on_progress=lambda *_: None,
            check_going_on=check,
            allow_unknown_labels=True,
            leave_out=leave_out,
        )
    except (InvalidInput, IllegalState, DamagedStore, InvalidManifest) as error:
        return _obstacle(name, error)


def _obstacle(name: VersionName, error: StoreError) -> str:
    return f"{name}, which is there now, cannot be measured on these rows: {error}"
