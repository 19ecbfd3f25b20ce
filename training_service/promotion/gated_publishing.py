"""Publishes a job's version with the verdict of the gate; after a move of the alias, the gate is asked again."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from model_store.errors import AliasMoved
from model_store.names import VersionName
from model_store.records.jobs import JobSpec
from model_store.records.promotion import PromotionSpec
from model_store.records.resources import ModelVersion
from model_store.registry.datasets import DatasetStore
from model_store.registry.models import ModelStore
from model_store.transactions.promotions import Gated
from training_service.datasets.splits import Split
from training_service.evaluation.evaluator import build_evaluator
from training_service.evaluation.held_out import HeldOut
from training_service.promotion.incumbent import Comparison
from training_service.settings import TrainingSettings
from training_service.tasks.training_task import Answers


class Publish(Protocol):
    """What publishes a version, with a verdict where there is one."""

    def __call__(self, *, gated: Gated | None) -> ModelVersion:
        """Publish it; raise AliasMoved where the verdict is about another alias' version."""


@dataclass(frozen=True)
class GatedPublishing:
    """The gate of one job; `check_going_on` ends it by raising, and `tell` adds a line to the job's events."""

    settings: TrainingSettings
    store: ModelStore
    datasets: DatasetStore
    check_going_on: Callable[[], None]
    tell: Callable[[str], None]

    def publish(
        self, spec: JobSpec, answers: Callable[[], Answers], held_out: HeldOut | None, publish: Publish
    ) -> ModelVersion:
        """Publish a version with the verdict on it, where the job asks for one.

        It is judged by its `answers` for the test rows, or by those for the rows that it was `held_out` from.
        """
        while True:
            try:
                gated = self._gated(spec, spec.promote, answers(), held_out) if spec.promote is not None else None
                return publish(gated=gated)
            except AliasMoved as error:
                self.tell(f"{error}: the gate looks again")

    def answers_of(self, version: VersionName, dataset_id: str) -> Answers:
        """Return the answers of a version, also of a deleted one, for the test rows of a dataset."""
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            evaluator = build_evaluator(self.settings, self.store, self.datasets, threads)
            return evaluator.evaluate(
                version,
                dataset_id,
                Split.TEST,
                on_progress=lambda *_: None,
                check_going_on=self.check_going_on,
                allow_deleted=True,
            ).evaluation.answers

    def _gated(self, spec: JobSpec, asked: PromotionSpec, answers: Answers, held_out: HeldOut | None) -> Gated:
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            evaluator = build_evaluator(self.settings, self.store, self.datasets, threads)
            comparison = Comparison(self.store, self.datasets, evaluator)
            verdict = comparison.verdict(spec, asked, answers, held_out, self.check_going_on)
        patience = self.settings.promotion_patience_seconds if self.settings.inference_addresses else None
        return Gated(asked, verdict, patience)
