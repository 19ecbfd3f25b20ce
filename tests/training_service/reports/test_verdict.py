"""A report opens with one sentence: whether the version is better than what is served, by more than chance."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from maas.model_store.v1 import model_store_pb2
from maas.training.v1 import training_pb2 as pb

from model_store.records.metrics import Interval
from model_store.tasks import Classification, MultiLabel, Regression
from tests.training_service.making import publish_mlp
from tests.training_service.reports.pages import report
from tests.training_service.running import TIMEOUT, RunningService, running_service
from training_service.evaluation.difference import Difference
from training_service.reports.verdict import judged
from training_service.tasks import TRAINING_TASKS

ALIAS = "models/signs/aliases/production"
NUMBERS = np.random.default_rng(0).standard_normal((240, 4)).round(3)
WORSE = pb.Recipe(scratch=pb.Recipe.Scratch(epoch_count=1, optimizer=pb.OptimizerSpec(learning_rate=1e-6)))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service with a base of rows of four numbers, and a dataset that is easy to learn."""
    with running_service(tmp_path_factory.mktemp("home"), num_concurrent_jobs=1, lease_seconds=60) as running:
        publish_mlp(running.store, "numbers", (4, 64))
        rows = [f"{','.join(map(str, row))},{'up' if row[0] > 0 else 'down'}" for row in NUMBERS]
        running.upload("\n".join(["a,b,c,d,kind", *rows]).encode(), "signs")
        yield running


def trained(service: RunningService, seed: int = 0, recipe: pb.Recipe | None = None) -> pb.TrainingJob:
    """Run a job to its end."""
    asked = {"model": "models/signs", "base": "models/numbers", "dataset": "datasets/signs", "seed": seed}
    job = service.await_end(service.create(**asked, recipe=recipe or pb.Recipe(linear_probe={})).name)
    assert job.state == pb.TRAINING_JOB_STATE_SUCCEEDED, job.error
    return job


def point_at(service: RunningService, version: str) -> None:
    """Point the alias at a version."""
    service.registry.SetAlias(model_store_pb2.SetAliasRequest(name=ALIAS, version=version), timeout=TIMEOUT)


def opening(service: RunningService, job: pb.TrainingJob) -> str:
    """Return the first section of a job's report."""
    page = report(service, job.name)
    assert page.texts["h2"][0] == "Verdict"
    return " ".join(page.texts["section"][0].split())


@pytest.mark.slow
def test_the_verdict_is_about_what_the_alias_names_now(service: RunningService) -> None:
    """First a plain answer; then the version that is served, or was before this one; and no more once that is gone."""
    first, second = trained(service), trained(service, 1, WORSE)
    plain = "Better than always answering 'down', the most frequent label of the training rows: accuracy"
    assert plain in opening(service, first)
    assert f"No served version to compare with: {ALIAS} names no version." in opening(service, first)
    point_at(service, first.version)
    assert plain in opening(service, first)
    assert f"{ALIAS} names this version, and named none before." in opening(service, first)
    text = opening(service, second)
    assert f"Worse than {first.version}, which {ALIAS} names: accuracy {second.metrics.values['accuracy']:.3f}" in text
    assert f"against {first.metrics.values['accuracy']:.3f} on the same" in text
    assert f"FigureThis version{first.version}" in text
    point_at(service, second.version)
    assert f"Better than {second.version}, which {ALIAS} names: accuracy" in opening(service, first)
    assert f"Worse than {first.version}, which {ALIAS} named before this one: accuracy" in opening(service, second)
    request = model_store_pb2.DeleteModelVersionRequest(name=first.version)
    service.registry.DeleteModelVersion(request, timeout=TIMEOUT)
    text = opening(service, second)
    assert f"No served version to compare with: {first.version}" in text
    assert "was deleted" in text


@pytest.mark.parametrize(
    ("num_rows", "low", "high", "words"),
    [
        (200, 0.01, 0.2, "Better"),
        (200, -0.2, -0.01, "Worse"),
        (200, -0.01, 0.2, "No clear difference"),
        (200, 0.0, 0.0, "No clear difference"),
        (19, 0.5, 1.0, "Too few rows"),
    ],
)
def test_a_verdict_goes_by_the_interval_of_the_difference(num_rows: int, low: float, high: float, words: str) -> None:
    """Of fewer than 20 rows it says nothing, as a few rows that agree by chance have a narrow interval."""
    assert judged(Difference(0.9, 0.8, Interval(low, high), num_rows)).words == words


def test_a_plain_answer_is_that_of_the_training_rows() -> None:
    """The most frequent label, the labels that most rows have, and the mean."""
    tasks = {
        "classification": (Classification(("a", "b", "c")), np.array([0, 2, 2]), [False, False, True]),
        "multi_label": (MultiLabel(("a", "b")), np.float32([[1, 0], [1, 0], [0, 1]]), [True, False]),
    }
    for kind, (task, targets, expected) in tasks.items():
        outputs = TRAINING_TASKS[kind].baseline(task, targets).outputs
        assert np.isfinite(outputs).all()
        assert ((outputs == outputs.max()) if kind == "classification" else outputs > 0).tolist() == expected
    found = TRAINING_TASKS["regression"].baseline(Regression(("a",)), np.float32([[1], [4]]))
    assert found.outputs.tolist() == [2.5]
