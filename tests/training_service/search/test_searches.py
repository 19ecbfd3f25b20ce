"""Searches: trials are jobs, the best one's version is published, and nothing is lost on the way."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from maas.model_store.v1 import model_store_pb2
from maas.training.v1 import training_pb2 as pb

from model_store.names import parse_job
from model_store.records.job_lifecycle import DesiredAction, JobState
from model_store.records.jobs import SEARCH_ENDED
from tests.training_service.running import RunningService, refused, until
from tests.training_service.search.searching import (
    Machine,
    dimension,
    machine,
    searched,
    searching_service,
    space,
    trials,
    versions,
)
from training_service.evaluation.evaluator import build_evaluator
from training_service.reports.facts import FactFinder
from training_service.reports.page import render


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the service."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def service(home: Path) -> Iterator[RunningService]:
    """A service that queues jobs and runs none."""
    with searching_service(home, num_jobs=0) as running:
        yield running


@pytest.fixture
def runner(home: Path, service: RunningService) -> Iterator[Machine]:  # noqa: ARG001  the store is the service's
    """What runs them instead, in this process."""
    with machine(home) as found:
        yield found


def test_the_best_trial_becomes_the_version(service: RunningService, runner: Machine) -> None:
    """Trials are jobs with hidden versions; the search publishes the best by validation rows, and moves the alias."""
    search = pb.Search(recipes=space(), max_trial_count=4)
    job = searched(service, "best", search, alias="models/best/aliases/production", seed=3)
    assert job.search.max_trial_count == 4
    runner.drive()
    texts = [event.message for event in service.watch(job.name) if event.message]
    ended, found = service.job(job.name), trials(service, job)
    assert ended.state == pb.TRAINING_JOB_STATE_SUCCEEDED
    assert [each.trial.number for each in found] == [1, 2, 3, 4]
    assert [each.recipe.WhichOneof("recipe") for each in found][:2] == ["classic", "scratch"]
    assert found[1].recipe.scratch.optimizer.learning_rate == pytest.approx(0.05)  # the default is tried first
    assert {(each.seed, each.alias, each.dataset) for each in found} == {(3, "", "datasets/rows")}
    best = max(found, key=lambda each: (each.validation_metric, -each.validation_loss))
    assert (ended.validation_metric, ended.validation_loss) == (best.validation_metric, best.validation_loss)
    assert ended.recipe == best.recipe
    assert ended.metrics == best.metrics
    assert versions(service, "best") == [5]
    assert versions(service, "best", show_deleted=True) == [1, 2, 3, 4, 5]
    version = service.registry.GetModelVersion(model_store_pb2.GetModelVersionRequest(name=ended.version))
    assert version.lineage.training_job == job.name
    alias = service.registry.GetAlias(model_store_pb2.GetAliasRequest(name="models/best/aliases/production"))
    assert alias.version == ended.version
    assert texts[0].startswith("tries at most 4 trials: classic; scratch (learning_rate 0.001 to 1)")
    assert any(text.startswith("trial 1: classic: validation accuracy") for text in texts)
    own = pb.ListTrainingJobsRequest(filter='trial.search = "" AND model = models/best')
    assert [each.name for each in service.training.ListTrainingJobs(own).training_jobs] == [job.name]


def test_a_lost_driver_loses_no_trial(service: RunningService, runner: Machine) -> None:
    """A driver is lost in the middle: the next attempt goes on with the trials that there are, and makes no more."""
    job = searched(service, "lost", pb.Search(recipes=space(), max_trial_count=4))
    claim = runner.drive(is_over=lambda: len(trials(service, job)) == 2)
    runner.jobs.release(claim, "it was killed")
    before = [each.name for each in trials(service, job)]
    until(lambda: datetime.now(UTC) >= (runner.jobs.get(claim.job_id).next_attempt_at or datetime.now(UTC)))
    runner.drive()
    ended, found = service.job(job.name), trials(service, job)
    assert (ended.state, ended.attempt_count) == (pb.TRAINING_JOB_STATE_SUCCEEDED, 2)
    assert [each.name for each in found][: len(before)] == before
    assert [each.trial.number for each in found] == [1, 2, 3, 4]
    assert all(each.state == pb.TRAINING_JOB_STATE_SUCCEEDED for each in found)


def test_trials_pause_go_on_and_end_with_their_search(service: RunningService, runner: Machine) -> None:
    """A trial is paused at its next heartbeat, waits with its search, goes on with it, and is cancelled with it."""
    job = searched(service, "stopped", pb.Search(recipes=space(), max_trial_count=3))
    jobs, search_id = runner.jobs, parse_job(job.name, "name")
    claim = jobs.claim("driver", searches=True)
    assert claim is not None
    jobs.advance(claim, JobState.RUNNING)
    spec = jobs.get(search_id).spec
    first, second = (runner.searches.add_trial(claim, replace(spec, search=None), number) for number in (1, 2))
    running = jobs.claim("worker")
    assert running is not None
    assert running.job_id == first.id
    assert jobs.heartbeat(running) is JobState.PREPARING
    jobs.request_action(search_id, DesiredAction.PAUSE)
    assert jobs.heartbeat(running) is JobState.PAUSING
    assert jobs.hand_back(running).state is JobState.PAUSED
    assert jobs.claim("worker") is None  # the second trial waits
    jobs.hand_back(claim)
    jobs.request_action(search_id, DesiredAction.RESUME)
    claim = jobs.claim("driver", searches=True)
    assert claim is not None
    jobs.advance(claim, JobState.RUNNING)
    runner.searches.resume_trials(claim)
    running = jobs.claim("worker")
    assert running is not None
    jobs.request_action(search_id, DesiredAction.CANCEL)
    assert jobs.heartbeat(running) is JobState.CANCELLING
    jobs.hand_back(running)
    assert jobs.claim("worker") is None
    ends = [jobs.get(each.id) for each in (first, second)]
    assert [each.state for each in ends] == [JobState.CANCELLED] * 2
    assert [each.trial.stopped for each in ends if each.trial is not None] == [SEARCH_ENDED] * 2
    jobs.hand_back(claim)
    assert service.job(job.name).state == pb.TRAINING_JOB_STATE_CANCELLED


def test_a_search_ends_in_time_with_the_best_so_far(service: RunningService, runner: Machine) -> None:
    """No trial begins after the limit, and the best of those before it is the version."""
    search = pb.Search(recipes=space(), max_trial_count=1000, time_limit=timedelta(seconds=1000))
    job = searched(service, "limited", search)
    runner.drive(clock=lambda: 1000.0 if any(each.version for each in trials(service, job)) else 0.0)
    ended = service.job(job.name)
    assert ended.state == pb.TRAINING_JOB_STATE_SUCCEEDED
    assert len(versions(service, "limited")) == 1
    assert len(trials(service, job)) == 1


def test_the_gate_judges_the_winner_alone(service: RunningService, runner: Machine) -> None:
    """No trial moves the alias; a threshold that the winner does not reach refuses it."""
    gate = pb.Promote(alias="models/gated/aliases/production", threshold=1.5)
    job = searched(service, "gated", pb.Search(recipes=space()[:1]), promote=gate)
    runner.drive()
    ended = service.job(job.name)
    assert ended.state == pb.TRAINING_JOB_STATE_SUCCEEDED
    assert ended.promotion.state == pb.PROMOTION_STATE_REFUSED
    assert "at least 1.5 was asked for" in ended.promotion.reason
    assert ended.promotion.figure == pytest.approx(ended.metrics.values["accuracy"])


def test_wrong_spaces_are_refused_by_their_fields(service: RunningService) -> None:
    """Before anything is queued, each with the field that is wrong."""
    full = pb.Recipe(full={})
    wrong = {
        "recipes": [],
        "recipes[0].recipe": [pb.RecipeSpace(recipe=pb.Recipe(auto={}))],
        "recipes[1].recipe": [pb.RecipeSpace(recipe=full), pb.RecipeSpace(recipe=full)],
        "recipes[0].dimensions[0].name": [pb.RecipeSpace(recipe=full, dimensions=[dimension("stage_count", 1, 2)])],
        "recipes[0].dimensions[0].range": [pb.RecipeSpace(recipe=full, dimensions=[dimension("augmentation", 1, 2)])],
        "recipes[0].dimensions[0]": [pb.RecipeSpace(recipe=full, dimensions=[dimension("learning_rate", 0.1, 0.01)])],
        "recipes[0].dimensions[0].choices": [
            pb.RecipeSpace(recipe=full, dimensions=[pb.Dimension(name="epoch_count", choices=[1, 2.5])])
        ],
    }
    for field, recipes in wrong.items():
        with refused(grpc.StatusCode.INVALID_ARGUMENT, fields=(f"training_job.search.{field}",)):
            searched(service, "wrong", pb.Search(recipes=recipes))
    too_many = [pb.RecipeSpace(recipe=full, dimensions=[pb.Dimension(name="batch_size", choices=[32, 10_000])])]
    with refused(
        grpc.StatusCode.INVALID_ARGUMENT, "1 to 4,096", fields=("training_job.search.recipes[0].dimensions[0]",)
    ):
        searched(service, "wrong", pb.Search(recipes=too_many))
    fields = ("training_job.search.max_trial_count", "training_job.search.time_limit")
    with refused(grpc.StatusCode.INVALID_ARGUMENT, fields=fields):
        searched(service, "wrong", pb.Search(recipes=space(), max_trial_count=0, time_limit=timedelta(0)))
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "must be unset with search", fields=("training_job.recipe",)):
        service.create(base="models/mlp", dataset="datasets/rows", search=pb.Search(recipes=space()))


def test_a_search_and_its_trials_have_reports(service: RunningService, runner: Machine) -> None:
    """That of the search has the trials, which differ in their recipes and what these read; a trial has none."""
    job = searched(service, "told", pb.Search(recipes=space(), max_trial_count=2))
    runner.drive()
    with ThreadPoolExecutor(1) as threads:
        evaluator = build_evaluator(runner.settings, service.store, service.datasets, threads)
        facts = FactFinder(service.store, service.datasets, runner.jobs, evaluator, runner.searches)
        first = trials(service, job)[0]
        page, trial = (render(facts.find(parse_job(each.name, "name"), lambda: None)) for each in (job, first))
    assert "<h2>Trials</h2>" in page
    assert "scratch" in page
    assert "<h2>Trials</h2>" not in trial
