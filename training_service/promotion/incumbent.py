"""The comparison of the gate: a new version and the one behind the alias, on rows that neither learned from."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

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
from model_store.records.metrics import CROSS_VALIDATION, Metrics
from model_store.records.promotion import PromotionSpec, Verdict
from model_store.records.resources import Lineage
from model_store.registry.datasets import DatasetStore
from model_store.registry.models import ModelStore
from model_store.tasks import Task
from training_service.arrays.records import Positions
from training_service.datasets.manifest import read_manifest
from training_service.datasets.splits import Split
from training_service.evaluation.difference import difference
from training_service.evaluation.evaluate_version import checked_task
from training_service.evaluation.evaluator import Evaluated, Evaluator
from training_service.evaluation.held_out import HeldOut, paired, read_held_out
from training_service.evaluation.learned_rows import LearnedRows, learned_rows
from training_service.promotion.gate import Incumbent, LeftOut, judge
from training_service.tasks import TRAINING_TASKS, TrainingTask
from training_service.tasks.training_task import Answers


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

    def verdict(
        self,
        spec: JobSpec,
        asked: PromotionSpec,
        own_answers: Answers,
        answers: HeldOut | None,
        check: Callable[[], None],
    ) -> Verdict:
        """Judge a job's new version beside the one behind the alias, by the metric that is asked for.

        `own_answers` are the new one's for the test rows. They are compared on the answers that are kept with both,
        where these are of more rows than the test rows that neither learned from: on a small dataset, the rows left out
        in cross-validation. `check` ends this by raising.
        """
        task = TRAINING_TASKS[own_answers.task.kind]
        name = self._behind(AliasName(spec.model_id, asked.alias))
        own = self.learned(Lineage(spec.base, spec.dataset_id, recipe=spec.recipe))
        learned = own if name is None else own | self.learned(self._store.get_version(name).lineage)
        manifest = read_manifest(self._store.blobs, self._datasets.get(spec.dataset_id).digest)
        test = manifest.rows.positions(Split.TEST)
        is_left = ~learned.among(manifest, test)
        compared = self._on_kept(name, asked, task, answers, int(is_left.sum()))
        if compared is None:
            found, is_left = self._on_test(name, spec, asked, own_answers, test, is_left, own, check)
            metrics = task.measure(own_answers.at(is_left), Split.TEST) if is_left.any() else None
            compared = Compared(metrics, found, LeftOut(int((~is_left).sum()), learned.unknown))
        if name is not None and (obstacle := self._other_task(name, manifest.task)):
            compared = replace(compared, incumbent=Incumbent(name, None, obstacle))
        return judge(asked, task, compared.metrics, compared.incumbent, compared.left_out)

    def _on_test(
        self,
        name: VersionName | None,
        spec: JobSpec,
        asked: PromotionSpec,
        own_answers: Answers,
        test: Positions,
        is_left: NDArray[np.bool_],
        own: LearnedRows,
        check: Callable[[], None],
    ) -> tuple[Incumbent | None, NDArray[np.bool_]]:
        """Run the version behind the alias on the test rows that neither learned from; return these rows too.

        Rows with labels that it lacks count as wrong for it.
        """
        if name is None or not is_left.any():
            return Incumbent(name, None) if name is not None else None, is_left
        beside = evaluated_beside(self._evaluator, name, spec.dataset_id, own, check)
        if isinstance(beside, str):
            return Incumbent(name, None, beside), is_left
        is_left = is_left & np.isin(test, beside.positions)
        other = beside.evaluation.answers.at(np.isin(beside.positions, test[is_left]))
        task = TRAINING_TASKS[own_answers.task.kind]
        found = difference(task, own_answers.at(is_left), other, asked.metric) if len(other) else None
        return Incumbent(name, found), is_left

    def _on_kept(
        self, name: VersionName | None, asked: PromotionSpec, task: TrainingTask, own: HeldOut | None, num_test: int
    ) -> Compared | None:
        """Compare on the answers that are kept with both versions; None where test rows are more."""
        if own is None or not own.is_cross_validated:
            return None
        if name is None:
            return Compared(_metrics(own.answers, asked.metric, task), None, LeftOut())
        pairs = paired(own, read_held_out(self._store, self._store.get_version(name)))
        if pairs is None or len(pairs) <= num_test:
            return None
        found = difference(task, pairs.own, pairs.other, asked.metric, pairs.groups)
        return Compared(_metrics(pairs.own, asked.metric, task), Incumbent(name, found), LeftOut())

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


def _metrics(answers: Sequence[Answers], metric: str, task: TrainingTask) -> Metrics:
    """Return one metric of left-out answers, the mean over draws."""
    every = np.ones((1, len(answers[0])), np.float32)
    value = float(np.mean([task.metrics[metric].sampled(each)(every)[0] for each in answers]))
    return Metrics(CROSS_VALIDATION, len(answers[0]), {metric: value} if math.isfinite(value) else {})


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
