"""Drives a search: queues trials, waits for them, and publishes the version of the best one.

Everything that a search knows is in the rows of its trials: a later attempt goes on where a killed one was.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

import structlog

from model_store.database.engine import Database
from model_store.names import job_name
from model_store.records.job_lifecycle import JobState
from model_store.records.jobs import TrainingJob
from model_store.records.resources import Lineage, ModelVersion
from model_store.registry.datasets import DatasetStore
from model_store.registry.jobs import Claim, JobStore
from model_store.registry.models import ModelStore
from model_store.registry.searches import SearchStore
from model_store.transactions.promotions import Gated
from model_store.transactions.publication import Publication
from training_service.evaluation.held_out import read_held_out
from training_service.jobs.attempt import Stopped, attempt
from training_service.jobs.base_choice import BaseChooser
from training_service.jobs.work_order import WorkOrder
from training_service.promotion.gated_publishing import GatedPublishing
from training_service.search.clock import SearchClock
from training_service.search.space import Search
from training_service.search.trial_queue import TrialQueue
from training_service.search.trials import by_quality
from training_service.search.words import plan_text
from training_service.settings import TrainingSettings
from training_service.training.outcome import TrainingFailed
from training_service.training.progress import Progress

_log = structlog.get_logger()


class SearchDriver:
    """One attempt of one search."""

    def __init__(
        self,
        order: WorkOrder,
        database: Database,
        stopping: threading.Event,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._claim: Claim = order.claim
        self._settings: TrainingSettings = order.settings
        self._jobs = JobStore(database, lease_seconds=order.settings.lease_seconds)
        self._searches = SearchStore(database)
        self._store = ModelStore(database, order.settings.open_blobs())
        self._datasets = DatasetStore(database, self._store.blobs)
        self._stopping = stopping
        self._clock = clock

    def run(self) -> int:
        """Run the search and return the exit code."""
        return attempt(self._jobs, self._claim, lambda: self._run(self._jobs.get(self._claim.job_id)))

    def _run(self, job: TrainingJob) -> None:
        search = Search.from_json(job.spec.search or {})
        spent = self._searches.active_seconds(job.id)
        clock = SearchClock.of(search.limit_seconds, spent, is_gated=job.spec.promote is not None, clock=self._clock)
        job = self._chooser().chosen(self._claim, job)
        self._jobs.advance(self._claim, JobState.RUNNING)
        self._searches.resume_trials(self._claim)
        if job.search_plan is None:
            self._tell(plan_text(search))
            self._searches.settle_plan(self._claim, search.to_json())
        queue = TrialQueue(
            self._searches,
            self._claim,
            job,
            search,
            self._datasets.get(job.spec.dataset_id),
            clock,
            max(1, self._settings.num_concurrent_jobs),
            self._tell,
            self._emit,
        )
        while queue.goes_on():
            self._wait()
        self._publish(job, self._best(job))

    def _chooser(self) -> BaseChooser:
        return BaseChooser(
            self._settings, self._store, self._datasets, self._jobs, self._emit, self._tell, self._check_going_on
        )

    def _best(self, job: TrainingJob) -> TrainingJob:
        """Return the best trial, of those whose versions are kept; raise TrainingFailed where there is none."""
        trials = self._searches.trials(job.id)
        ranked = by_quality(trials)
        kept = self._store.get_versions([trial.version for trial in ranked if trial.version is not None])
        best = next((trial for trial in ranked if trial.version in kept), None)
        if best is not None:
            return best
        failed = next((trial.error.message for trial in trials if trial.error is not None), "")
        why = f": {failed}" if failed else ": allow more time, or leave out the slowest recipes"
        raise TrainingFailed(f"none of {len(trials)} trials made a version{why}")

    def _wait(self) -> None:
        """Wait until it is time to look again; raise Stopped if the search is to stop."""
        if self._stopping.wait(self._settings.poll_seconds):
            raise Stopped

    def _publish(self, job: TrainingJob, trial: TrainingJob) -> None:
        """Publish the version of the best trial again, as that of the search: its stages are stored already."""
        if trial.version is None:
            raise TypeError(f"{trial.name} has no version")
        name, record = trial.version, self._store.get_version(trial.version)
        self._searches.choose(self._claim, trial)
        spec = replace(job.spec, base=trial.spec.base, recipe=trial.spec.recipe)
        manifest = self._store.manifest(record)

        def publish(*, gated: Gated | None) -> ModelVersion:
            return self._store.publish(
                Publication(
                    model_id=spec.model_id,
                    manifest=manifest,
                    lineage=Lineage(spec.base, spec.dataset_id, job.id, record.lineage.recipe, spec.seed),
                    metrics=record.metrics,
                    calibration=record.calibration,
                    answers=record.answers.digest if record.answers is not None else None,
                    alias=spec.alias,
                    actor=job.name,
                    claim=self._claim,
                    validated=trial.validated,
                    gated=gated,
                )
            )

        gate = GatedPublishing(self._settings, self._store, self._datasets, self._check_going_on, self._tell)
        kept = read_held_out(self._store, record)
        version = gate.publish(spec, lambda: gate.answers_of(name, spec.dataset_id), kept, publish)
        _log.info("search_succeeded", job=job.name, version=str(version.name), trial=trial.name)

    def _check_going_on(self) -> None:
        if self._stopping.is_set():
            raise Stopped

    def _emit(self, progress: Progress) -> None:
        self._jobs.append(self._claim, "progress", progress.to_json())

    def _tell(self, text: str) -> None:
        self._jobs.append(self._claim, "message", {"text": text})
        _log.info("job_event", job=job_name(self._claim.job_id), text=text)
