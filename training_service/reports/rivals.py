"""What a report compares a version with: the version that the job's alias names, else a plain answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from model_store.database.paging import PageRequest
from model_store.errors import AliasNotFound, IllegalState, ModelNotFound, VersionNotFound
from model_store.names import AliasName, VersionName
from model_store.records.jobs import TrainingJob
from model_store.registry.models import PRODUCTION, ModelStore
from training_service.datasets.splits import Split
from training_service.evaluation.evaluator import Evaluated, Evaluator
from training_service.evaluation.held_out import Paired, pair_of, paired, read_held_out
from training_service.promotion.incumbent import evaluated_beside
from training_service.tasks import TRAINING_TASKS
from training_service.tasks.training_task import Answers

_MAX_MOVES = 1000


@dataclass(frozen=True)
class Rival:
    """What a version is compared with: answers of both for the same rows, which neither learned from, by draw.

    `name` heads the rival's column; `text` follows "better than"; `why` no served version can be compared with, where
    this is the plain answer.
    """

    name: str
    text: str
    why: str
    pairs: Paired


class Rivals:
    """Finds what versions are compared with; safe to share between threads."""

    def __init__(self, store: ModelStore, evaluator: Evaluator) -> None:
        self._store = store
        self._evaluator = evaluator

    def find(self, job: TrainingJob, evaluated: Evaluated, check_going_on: Callable[[], None]) -> Rival | None:
        """Return what a job's version, evaluated on the test split, is compared with; None where no row is left."""
        spec = job.spec
        alias = AliasName(spec.model_id, spec.promote.alias if spec.promote is not None else spec.alias or PRODUCTION)
        named = self._named(alias)
        if named is None:
            return _baseline(evaluated, f"{alias} names no version.")
        other, clause = named, f"which {alias} names"
        if named == evaluated.version:
            before = self._named_before(alias, named)
            if before is None:
                return _baseline(evaluated, f"{alias} names this version, and named none before.")
            other, clause = before, f"which {alias} named before this one"
        try:
            if (kept := self._kept(evaluated, other)) is not None:
                return Rival(str(other), f"{other}, {clause}", "", kept)
            beside = evaluated_beside(self._evaluator, other, spec.dataset_id, evaluated.learned, check_going_on)
        except VersionNotFound:
            return _baseline(evaluated, f"{other}, {clause}, was purged.")
        if isinstance(beside, str):
            return _baseline(evaluated, f"{beside}.")
        own = evaluated.evaluation.answers.at(np.isin(evaluated.positions, beside.positions))
        return Rival(str(other), f"{other}, {clause}", "", pair_of(own, beside.evaluation.answers))

    def _kept(self, evaluated: Evaluated, other: VersionName) -> Paired | None:
        """Return the answers of cross-validation that are kept with both, where these are more than the test rows."""
        versions = (self._store.get_version(name) for name in (evaluated.version, other))
        pairs = paired(*(read_held_out(self._store, version) for version in versions))
        is_more = pairs is not None and pairs.is_cross_validated and len(pairs) > len(evaluated.positions)
        return pairs if is_more else None

    def _named(self, alias: AliasName) -> VersionName | None:
        try:
            return self._store.get_alias(alias).version
        except (AliasNotFound, ModelNotFound, IllegalState):  # IllegalState: the model was deleted
            return None

    def _named_before(self, alias: AliasName, version: VersionName) -> VersionName | None:
        """Return the version that the alias named last before this one; None where it named no other."""
        moves = self._store.list_alias_history(alias, PageRequest(_MAX_MOVES)).items
        versions = (move.to_version for move in moves if not move.is_refused and move.to_version is not None)
        return next((each for each in versions if each != version), None)


def _baseline(evaluated: Evaluated, why: str) -> Rival | None:
    """Return the plain answer of the training rows, on the test rows that the version did not learn from."""
    data, task = evaluated.data, evaluated.manifest.task
    is_held_out = ~evaluated.learned.among(evaluated.manifest, evaluated.positions)
    if not is_held_out.any():
        return None
    plain = TRAINING_TASKS[task.kind].baseline(task, data.targets[data.positions[Split.TRAIN]])
    outputs = np.tile(plain.outputs, (int(is_held_out.sum()), 1))
    other = Answers(outputs, data.targets[evaluated.positions[is_held_out]], task)
    pairs = pair_of(evaluated.evaluation.answers.at(is_held_out), other)
    return Rival("Plain answer", plain.text, why, pairs)
