"""What the store's own finished jobs say of bases: how each did on datasets where several were fine-tuned."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import comb

from model_store.database.paging import PageRequest
from model_store.errors import NotFound
from model_store.names import VersionName
from model_store.registry.jobs import JobStore
from model_store.registry.models import ModelStore
from model_store.transactions.listings import ListRequest
from training_service.choosing.candidates import backbone_key
from training_service.tasks import TRAINING_TASKS

_NUM_JOBS = 1000
_CHANCE = 0.1


@dataclass(frozen=True)
class Prior:
    """The best metric that fine-tunes of each backbone reached on the test split of each dataset."""

    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def record(self, backbone: str, other: str) -> tuple[int, int]:
        """Return on how many datasets a backbone did better than another one, and on how many worse."""
        both = [found for found in self.metrics.values() if backbone in found and other in found]
        better = sum(found[backbone] > found[other] for found in both)
        return better, sum(found[backbone] < found[other] for found in both)

    def is_better(self, backbone: str, other: str) -> bool:
        """Say whether it did better than another one more often than by chance: a one-sided sign test at 10 %."""
        better, worse = self.record(backbone, other)
        count = better + worse
        return count > 0 and sum(comb(count, wins) for wins in range(better, count + 1)) / 2**count < _CHANCE


def prior_of(store: ModelStore, jobs: JobStore, without_dataset: str, check_going_on: Callable[[], None]) -> Prior:
    """Collect the newest thousand jobs that succeeded, but those on the dataset: its test rows choose nothing."""
    finished = jobs.list(ListRequest(PageRequest(_NUM_JOBS), "state = SUCCEEDED")).items
    others = [each for each in finished if each.spec.dataset_id != without_dataset and each.version is not None]
    versions = store.get_versions([each.version for each in others if each.version is not None])
    backbones: dict[VersionName, str] = {}
    metrics: dict[str, dict[str, float]] = {}
    for job in others:
        check_going_on()
        version = versions.get(job.version) if job.version is not None else None
        if version is None or version.metrics is None or version.task is None:
            continue
        base = job.spec.base
        if base not in backbones:
            try:
                backbones[base] = backbone_key(store.manifest(store.get_version(base)))
            except NotFound:  # purged
                continue
        headline = version.metrics.values.get(TRAINING_TASKS[version.task].headline)
        if headline is not None:
            found = metrics.setdefault(job.spec.dataset_id, {})
            found[backbones[base]] = max(found.get(backbones[base], headline), headline)
    return Prior(metrics)
