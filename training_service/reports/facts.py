"""What is known of a job, collected for its report; what is not there any more is left out, with the reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from model_store.errors import DamagedStore, IllegalState, InvalidInput, NotFound
from model_store.manifests import Manifest
from model_store.names import VersionName
from model_store.records.jobs import JobEvent, TrainingJob
from model_store.records.resources import Dataset, ModelVersion
from model_store.registry.datasets import DatasetStore
from model_store.registry.jobs import JobStore
from model_store.registry.models import ModelStore
from model_store.registry.searches import SearchStore
from training_service.datasets.splits import Split
from training_service.evaluation.column_scores import ColumnScore
from training_service.evaluation.evaluator import Evaluated, Evaluator
from training_service.evaluation.selected_features import ScoredFeature, scored_features
from training_service.reports.rivals import Rival, Rivals
from training_service.tasks import TRAINING_TASKS, TrainingTask


@dataclass(frozen=True)
class JobFacts:
    """A job, what it was made from and what came of it; `not_evaluated` says why nothing was measured now.

    The `rival` is what the version is compared with; `columns` are what the columns of its examples say, if it has any,
    and `features` those that the version selects from. A search has `trials`.

    `epochs` are the last figures of each epoch, by number, and `tries` those of each try to fit a head; `history`
    are all events but progress. `num_forgotten` events before all of these are not kept any more.
    """

    job: TrainingJob
    epochs: Mapping[int, Mapping[str, Any]]
    tries: tuple[Mapping[str, Any], ...]
    history: tuple[JobEvent, ...]
    num_forgotten: int
    base: ModelVersion | None
    dataset: Dataset | None
    version: ModelVersion | None
    manifest: Manifest | None
    evaluated: Evaluated | None
    not_evaluated: str
    rival: Rival | None
    columns: tuple[ColumnScore, ...] = ()
    features: tuple[ScoredFeature, ...] = ()
    trials: tuple[TrainingJob, ...] = ()

    @property
    def task(self) -> TrainingTask | None:
        """The task of the dataset, and so of the version; None where the dataset is not there any more."""
        return TRAINING_TASKS[self.dataset.summary["task"]] if self.dataset is not None else None


class FactFinder:
    """Collects the facts of jobs; safe to share between threads."""

    def __init__(
        self,
        store: ModelStore,
        datasets: DatasetStore,
        jobs: JobStore,
        evaluator: Evaluator,
        searches: SearchStore | None = None,
    ) -> None:
        self._store = store
        self._datasets = datasets
        self._jobs = jobs
        self._searches = searches
        self._evaluator = evaluator
        self._rivals = Rivals(store, evaluator)

    def find(self, job_id: str, check_going_on: Callable[[], None]) -> JobFacts:
        """Return all that is known, and evaluate the job's version anew; raise JobNotFound."""
        job = self._jobs.get(job_id)
        found = self._events(job_id, check_going_on)
        first = list(islice(found, 1))
        events = [event for event in chain(first, found) if _is_kept(event)]
        progress = [event.payload for event in events if event.kind == "progress"]
        version = self._version(job.version)
        manifest = self._store.manifest(version) if version is not None else None
        evaluated, reason = self._evaluated(job, check_going_on)
        return JobFacts(
            job=job,
            epochs={each["epoch"]: each for each in progress if each.get("epoch")},
            tries=_last_tries(progress),
            history=tuple(event for event in events if event.kind != "progress"),
            num_forgotten=first[0].sequence - 1 if first else 0,
            base=self._version(job.spec.base),
            dataset=self._dataset(job.spec.dataset_id),
            version=version,
            manifest=manifest,
            evaluated=evaluated,
            not_evaluated=reason,
            rival=self._rivals.find(job, evaluated, check_going_on) if evaluated is not None else None,
            columns=self._evaluator.column_scores(evaluated, check_going_on) if evaluated is not None else (),
            features=scored_features(self._store.blobs, manifest) if manifest is not None else (),
            trials=self._searches.trials(job.id) if self._searches is not None else (),
        )

    def _events(self, job_id: str, check_going_on: Callable[[], None]) -> Iterator[JobEvent]:
        sequence = 0
        while events := self._jobs.events_after(job_id, sequence):
            check_going_on()
            yield from events
            sequence = events[-1].sequence

    def _version(self, name: VersionName | None) -> ModelVersion | None:
        try:
            return self._store.get_version(name) if name is not None else None
        except NotFound:  # purged
            return None

    def _dataset(self, dataset_id: str) -> Dataset | None:
        try:
            return self._datasets.get(dataset_id)
        except NotFound:
            return None

    def _evaluated(self, job: TrainingJob, check_going_on: Callable[[], None]) -> tuple[Evaluated | None, str]:
        if job.version is None:
            return None, "The job has registered no version."
        try:
            evaluated = self._evaluator.evaluate(
                job.version,
                job.spec.dataset_id,
                Split.TEST,
                on_progress=lambda _, __: None,
                check_going_on=check_going_on,
            )
        except (NotFound, IllegalState, InvalidInput, DamagedStore) as error:
            return None, f"The version cannot be evaluated any more: {error}"
        return evaluated, ""


def _is_kept(event: JobEvent) -> bool:
    """Say whether a report has a use for an event: of progress, there are thousands between two figures."""
    return event.kind != "progress" or "validation_loss" in event.payload


def _last_tries(progress: list[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    """Return the tries of the last attempt: those of one follow one another, and each attempt begins anew."""
    tries: list[Mapping[str, Any]] = []
    for each in progress:
        if each.get("epoch"):
            continue
        if tries and each["fraction_done"] <= tries[-1]["fraction_done"]:
            tries = []
        tries.append(each)
    return tuple(tries)
