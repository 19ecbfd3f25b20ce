"""What finished jobs say of bases, and when that decides."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from model_store.architectures import Head
from model_store.records.job_lifecycle import JobState
from model_store.records.jobs import JobSpec
from model_store.records.metrics import Metrics
from model_store.records.resources import Lineage, ModelVersion
from model_store.registry.jobs import JobStore
from model_store.tasks import Classification
from model_store.transactions.publication import Publication
from tests.training_service.making import base_manifest, photos, publish_base, tar_of
from tests.training_service.running import RunningService, running_service
from training_service.choosing.candidates import backbone_key
from training_service.choosing.prior import Prior, prior_of


def finished(running: RunningService, jobs: JobStore, base: ModelVersion, dataset_id: str, accuracy: float) -> None:
    """Run a job of this accuracy to its end, as a worker does."""
    spec = JobSpec("tuned", base.name, dataset_id, {"name": "linear_probe"}, 0, None)
    jobs.enqueue(spec)
    claim = jobs.claim("runner")
    assert claim is not None
    jobs.advance(claim, JobState.RUNNING)
    manifest = base_manifest(running.store, Head("linear", 2))
    made = Publication(
        "tuned",
        replace(manifest, task=Classification(("a", "b"))),
        lineage=Lineage(base.name, dataset_id, claim.job_id),
        metrics=Metrics("test", 9, {"accuracy": accuracy}),
        claim=claim,
    )
    running.store.publish(made)


def test_jobs_on_other_datasets_rank_their_bases(tmp_path: Path) -> None:
    """The best job of a base counts on each dataset; the dataset in question tells nothing."""
    with running_service(tmp_path, num_concurrent_jobs=0, upkeep_seconds=0) as running:
        jobs = JobStore(running.store._database, lease_seconds=60)
        first, second = publish_base(running.store, "first"), publish_base(running.store, "second", seed=1)
        for number, name in enumerate(("one", "two", "own")):
            running.upload(tar_of(photos(4 + number)), name)
        for dataset_id, base, accuracy in (
            ("one", first, 0.5),
            ("one", first, 0.9),
            ("one", second, 0.8),
            ("two", second, 0.7),
            ("own", second, 1.0),
            ("own", first, 0.1),
        ):
            finished(running, jobs, base, dataset_id, accuracy)
        prior = prior_of(running.store, jobs, "own", lambda: None)
        keys = [backbone_key(running.store.manifest(each)) for each in (first, second)]
        assert prior.metrics == {"one": {keys[0]: 0.9, keys[1]: 0.8}, "two": {keys[1]: 0.7}}
        assert prior.record(*keys) == (1, 0)
        assert prior_of(running.store, jobs, "one", lambda: None).record(keys[0], keys[1]) == (0, 1)


@pytest.mark.parametrize(("better", "worse", "is_better"), [(3, 0, False), (4, 0, True), (4, 1, False), (7, 1, True)])
def test_only_more_wins_than_by_chance_count(better: int, worse: int, is_better: bool) -> None:  # noqa: FBT001  of a table
    """By the sign test: four of four, but not four of five."""
    won = {f"w{number}": {"a": 0.9, "b": 0.8} for number in range(better)}
    lost = {f"l{number}": {"a": 0.7, "b": 0.8} for number in range(worse)}
    prior = Prior({**won, **lost, "draw": {"a": 0.5, "b": 0.5}})
    assert prior.is_better("a", "b") is is_better
    assert not prior.is_better("b", "a")
    assert not prior.is_better("c", "b")
