"""Runs one claimed job from start to finish, in its own process: a fork, or `python -m training_service.jobs.worker`.

The order comes as one line on standard input, which the runner keeps open. Its end means that the runner is dead, and
the worker ends too. Every write goes through the claim: a worker that outlives its lease can change nothing.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import structlog
import torch

from grpc_runtime.logs import configure_logs
from model_store.architectures import Chain
from model_store.database.engine import Database
from model_store.errors import StoreError
from model_store.manifests import Manifest
from model_store.names import job_name
from model_store.records.job_lifecycle import JobState
from model_store.records.jobs import BASE_CHOICE, REMARKS, TrainingJob
from model_store.registry.datasets import DatasetStore
from model_store.registry.jobs import Claim, JobStore
from model_store.registry.models import ModelStore
from model_store.tasks import Task
from training_service.arrays.array_cache import ArrayCache
from training_service.datasets.manifest import DatasetManifest, read_manifest
from training_service.devices import chosen_device
from training_service.evaluation.held_out import write_held_out
from training_service.evaluation.learned_rows import LearnedRows
from training_service.features.fitted_stages import fit_stages
from training_service.jobs.attempt import Stopped, attempt
from training_service.jobs.base_choice import BaseChooser, with_choice
from training_service.jobs.held_out_rows import cross_validating, held_out_answers, learned_by_base, remark_on_base
from training_service.jobs.plan import plan
from training_service.jobs.work_order import EXIT_STOPPED, WorkOrder
from training_service.jobs.worker_process import read_order
from training_service.phases import Phase
from training_service.preparation import Preparation, try_inputs
from training_service.promotion.gated_publishing import GatedPublishing
from training_service.recipes.recipe import Recipe, RecipeName
from training_service.recipes.stages import trained_stages
from training_service.settings import TrainingSettings
from training_service.training.checkpoints import Checkpoints, State
from training_service.training.fine_tuning import fine_tune, phase_weights
from training_service.training.input_choice import INPUT_CHOICE, InputChoice
from training_service.training.progress import Progress, ProgressMeter
from training_service.training.training_context import TrainingContext
from training_service.training.version_io import publish, random_chain, read_backbone, trainable_stages

_log = structlog.get_logger()


def main() -> None:
    """Work on the job whose order is on standard input."""
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the runner too, and that decides
    order = WorkOrder.from_line(read_order(EXIT_STOPPED))
    configure_logs(log_format=order.settings.log_format, level=order.settings.log_level)
    if order.settings.num_threads:
        torch.set_num_threads(order.settings.num_threads)
    try:
        with closing(order.settings.open_database()) as database:
            code = Worker(order, database, stopping).run()
    except StoreError as error:  # the database, or the blob store, cannot be opened
        _log.warning("job_stopped", job=job_name(order.claim.job_id), reason=error.in_full)
        code = EXIT_STOPPED
    # Threads of libraries may still run; nothing is left that they could do.
    os._exit(code)


class Worker:
    """One attempt of one job."""

    def __init__(self, order: WorkOrder, database: Database, stopping: threading.Event) -> None:
        self._claim: Claim = order.claim
        self._settings: TrainingSettings = order.settings
        self._jobs = JobStore(database, lease_seconds=order.settings.lease_seconds)
        self._store = ModelStore(database, order.settings.open_blobs())
        self._datasets = DatasetStore(database, self._store.blobs)
        self._stopping = stopping

    def run(self) -> int:
        """Run the job and return the exit code; a job that cannot succeed is ended as FAILED, with the reason."""
        return attempt(self._jobs, self._claim, lambda: self._run(self._jobs.get(self._claim.job_id)))

    def _run(self, job: TrainingJob) -> None:
        begun, had_chosen = time.monotonic(), job.recommendation is not None
        job = self._chooser().chosen(self._claim, job)
        chose_since = begun if job.recommendation is not None and not had_chosen else None
        spec, recipe = job.spec, Recipe.from_json(job.spec.recipe)
        base = self._store.manifest(self._store.get_version(spec.base))
        dataset = self._datasets.get(spec.dataset_id)
        manifest = read_manifest(self._store.blobs, dataset.digest)
        chain = self._start(recipe, base, manifest.task, spec.seed)
        learned = learned_by_base(self._store, self._datasets, spec, recipe)
        context, recipe = self._context(job, base, dataset.digest, manifest, chain, recipe, learned, chose_since)
        self._jobs.advance(self._claim, JobState.RUNNING)
        trained = trained_stages(recipe, trainable_stages(base))
        self._tell(plan(recipe, trained, context))
        remark_on_base(learned, spec, manifest, context)
        fitted = fit_stages(chain, context.data, context.spec, context.train, recipe, self._tell, context.output_of)
        context = replace(context, features=replace(context.features, fitted=fitted))
        tuned = fine_tune(chain, recipe, trained, context)
        tuned = replace(tuned, changed=(*fitted, *tuned.changed))
        remarks = {REMARKS: context.remarks} if context.remarks else {}
        why = {BASE_CHOICE: job.recommendation["reason"]} if job.recommendation is not None else {}
        tuned = replace(tuned, hyperparameters={**tuned.hyperparameters, **remarks, **why})
        self._check_going_on()
        answers = held_out_answers(tuned, context, manifest, learned)
        kept = write_held_out(self._store.blobs, answers) if answers is not None else None
        calibrate_by = manifest.calibration or context.calibration_rows()
        made = partial(
            publish, self._store, base, tuned, context.spec, calibrate_by=calibrate_by, answers=kept, job=spec
        )
        gate = GatedPublishing(self._settings, self._store, self._datasets, self._check_going_on, self._tell)
        version = gate.publish(spec, lambda: tuned.answers, answers, partial(made, claim=self._claim))
        _log.info("job_succeeded", job=job.name, version=str(version.name), metrics=dict(tuned.metrics.values))

    def _chooser(self) -> BaseChooser:
        return BaseChooser(
            self._settings, self._store, self._datasets, self._jobs, self._emit, self._tell, self._check_going_on
        )

    def _start(self, recipe: Recipe, base: Manifest, task: Task, seed: int) -> Chain:
        if recipe.name is RecipeName.SCRATCH:
            return random_chain(base, task, seed)
        return read_backbone(self._store.blobs, base, task, seed)

    def _context(
        self,
        job: TrainingJob,
        base: Manifest,
        digest: str,
        manifest: DatasetManifest,
        chain: Chain,
        recipe: Recipe,
        learned: LearnedRows,
        chose_since: float | None,
    ) -> tuple[TrainingContext, Recipe]:
        """Prepare the dataset, unless somebody has, and lay out what recipes work with; name the recipe's fit."""
        settings, device = self._settings, chosen_device(self._settings.device)
        cache = ArrayCache(settings.cache_folder / "arrays", settings.array_cache_bytes)
        preparation = Preparation(
            self._store.blobs, cache, settings, device, base, digest, manifest, self._check_going_on
        )
        chooses_input = preparation.chooses_input(recipe)
        compares = chooses_input and preparation.can_compare_inputs()
        # Trials are compared on validation rows: to run each of them several times would cost the time of others.
        max_seconds = settings.cross_validation_seconds if job.trial is None else 0.0
        small = cross_validating(manifest, learned, max_seconds)
        weights = phase_weights(recipe, chooses_input=compares, cross_validates=small is not None)
        meter = ProgressMeter(with_choice(weights, chose_since), self._emit, started=chose_since)
        checkpoints = self._checkpoints()
        saved, choice = checkpoints.load(), None
        if chooses_input:
            choice = self._choice(saved, preparation, chain, recipe, meter)
            recipe = replace(recipe, fit=choice.name if choice is not None else "")
        spec = preparation.spec(recipe.fit)
        meter.begin(Phase.DECODING, len(manifest.rows))
        data, spec = preparation.fitted(spec, meter.report)
        context = TrainingContext(
            data=data,
            modality=preparation.modality,
            task=manifest.task,
            spec=spec,
            seed=job.spec.seed,
            device=device,
            folder=self._scratch_folder(),
            meter=meter,
            check_going_on=self._check_going_on,
            tell=self._tell,
            features=preparation.features(spec),
            checkpoints=checkpoints,
            saved=saved,
            input_choice=choice,
            cross_validating=small,
        )
        return context, recipe

    def _choice(
        self, saved: State | None, preparation: Preparation, chain: Chain, recipe: Recipe, meter: ProgressMeter
    ) -> InputChoice | None:
        """Return the choice of an attempt that was broken off, which may be none, else choose now and say why."""
        if saved is not None:
            found = saved.get(INPUT_CHOICE)
            return InputChoice.from_json(found) if found is not None else None
        choice = try_inputs(preparation, chain, recipe, self._scratch_folder(), meter)
        self._tell(choice.reason)
        return choice

    def _checkpoints(self) -> Checkpoints:
        return Checkpoints(
            self._jobs,
            self._store.blobs,
            self._claim,
            interval_seconds=self._settings.checkpoint_seconds,
            should_stop=self._stopping.is_set,
        )

    def _check_going_on(self) -> None:
        if self._stopping.is_set():
            raise Stopped

    def _tell(self, text: str) -> None:
        self._jobs.append(self._claim, "message", {"text": text})
        _log.info("job_event", job=job_name(self._claim.job_id), text=text)

    def _emit(self, progress: Progress) -> None:
        self._jobs.append(self._claim, "progress", progress.to_json())

    def _scratch_folder(self) -> Path:
        return self._settings.folder / "scratch"


if __name__ == "__main__":
    main()
