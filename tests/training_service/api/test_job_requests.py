"""Requests for a fine-tune: checked whole before anything is queued, and safe to repeat."""

from __future__ import annotations

import math
from typing import Any

import grpc
import pytest
from maas.training.v1 import training_pb2 as pb

from model_store.architectures import Head
from model_store.names import AliasName
from tests.training_service.making import publish_base
from tests.training_service.running import RunningService, refused
from training_service.recipes.recipe import DEFAULTS

INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
QUEUED = pb.TRAINING_JOB_STATE_QUEUED
Recipe = pb.Recipe


def test_a_job_is_queued_with_every_default(ready_service: RunningService) -> None:
    """The base is resolved to a version, and the recipe says what it will do."""
    job = ready_service.create(
        recipe=Recipe(last_stages={"epoch_count": 3}), seed=7, alias="models/flowers/aliases/live"
    )
    assert (job.base, job.dataset, job.model) == ("models/base/versions/1", "datasets/photos", "models/flowers")
    assert (job.state, job.seed, job.attempt_count) == (QUEUED, 7, 0)
    assert (job.alias, job.HasField("error")) == ("models/flowers/aliases/live", False)
    assert (job.recipe.last_stages.stage_count, job.recipe.last_stages.epoch_count) == (1, 3)
    assert job.recipe.last_stages.optimizer.learning_rate == 1e-4
    assert ready_service.job(job.name) == job
    jobs = ready_service.training.ListTrainingJobs(pb.ListTrainingJobsRequest()).training_jobs
    assert list(jobs) == [job]


def test_a_recipe_of_an_answer_can_be_sent_again(ready_service: RunningService) -> None:
    """What was filled in is a valid request."""
    for name in DEFAULTS:
        job = ready_service.create(recipe=Recipe(**{name: {}}))
        assert ready_service.create(recipe=job.recipe).recipe == job.recipe


def test_a_recipe_that_nobody_names_is_chosen_by_the_data(ready_service: RunningService) -> None:
    """Few images a label: a linear probe, which says why it was chosen; what it has no use for is refused."""
    for recipe in (None, Recipe(), Recipe(auto={"class_weights": pb.CLASS_WEIGHTS_BALANCED})):
        job = ready_service.create(recipe=recipe)
        assert job.recipe.WhichOneof("recipe") == "linear_probe"
        assert "training rows a label" in job.recipe.reason
        assert ready_service.create(recipe=job.recipe).recipe.reason == ""
    with refused(INVALID, "chosen by the data", fields=["training_job.recipe.auto.augmentation"]):
        ready_service.create(recipe=Recipe(auto={"augmentation": pb.AUGMENTATION_STRONG}))


def test_a_base_may_be_named_three_ways(ready_service: RunningService) -> None:
    """A model stands for its production version, or for its newest."""
    second = publish_base(ready_service.store, head=Head("linear", 4))
    assert ready_service.create(base="models/base").base == str(second.name)
    first = ready_service.store.set_alias(AliasName("base", "production"), second.name.__class__("base", 1)).version
    assert ready_service.create(base="models/base").base == str(first)
    assert ready_service.create(base="models/base/aliases/production").base == str(first)
    assert ready_service.create(base="models/base/versions/2").base == str(second.name)


def test_a_repeated_request_makes_one_job(ready_service: RunningService) -> None:
    """The same id returns the first job; another request under it is refused."""
    first = ready_service.create(request_id="once")
    assert ready_service.create(request_id="once") == first
    with refused(grpc.StatusCode.ALREADY_EXISTS, "'once'"):
        ready_service.create(request_id="once", seed=1)


@pytest.mark.parametrize(
    ("job", "fields"),
    [
        ({"model": ""}, ["training_job.model"]),
        ({"model": "flowers"}, ["training_job.model"]),
        ({"model": "models/Flowers"}, ["training_job.model"]),
        ({"base": "base"}, ["training_job.base"]),
        ({"base": "models/base/versions/0"}, ["training_job.base"]),
        ({"dataset": "photos"}, ["training_job.dataset"]),
        ({"alias": "live"}, ["training_job.alias"]),
        ({"alias": "models/flowers/aliases/Not An Alias"}, ["training_job.alias"]),
        ({"alias": "models/roses/aliases/live"}, ["training_job.alias"]),
        ({"promote": pb.Promote()}, ["training_job.promote.alias"]),
        ({"promote": pb.Promote(alias="models/roses/aliases/live")}, ["training_job.promote.alias"]),
        (
            {"recipe": Recipe(linear_probe={"class_weights": 7})},  # type: ignore[arg-type]
            ["training_job.recipe.linear_probe.class_weights"],
        ),
        ({"recipe": Recipe(fit_head={"head": {"ridge": {}}})}, ["training_job.recipe.fit_head.head.kind"]),
        (
            {"recipe": Recipe(fit_head={"head": {"gaussian_nb": {}, "strength": 1.0, "smoothing": 0.1}})},
            ["training_job.recipe.fit_head.head.strength"],
        ),
        (
            {"recipe": Recipe(fit_head={"head": {"gaussian_nb": {}}, "class_weights": pb.CLASS_WEIGHTS_BALANCED})},
            ["training_job.recipe.fit_head.class_weights"],
        ),
        (
            {"recipe": Recipe(fit_head={"head": {"strength": math.nan}})},
            ["training_job.recipe.fit_head.head.strength"],
        ),
        (
            {"recipe": Recipe(last_stages={"stage_count": 99})},
            ["training_job.recipe.last_stages.stage_count"],
        ),
        (
            {"recipe": Recipe(full={"batch_size": 0, "optimizer": {"learning_rate": -1}})},
            ["training_job.recipe.full.batch_size", "training_job.recipe.full.optimizer.learning_rate"],
        ),
        ({"model": "", "base": "", "dataset": ""}, [f"training_job.{each}" for each in ("model", "base", "dataset")]),
    ],
)
def test_what_does_not_fit_is_named(ready_service: RunningService, job: dict[str, Any], fields: list[str]) -> None:
    """All violations at once, and nothing is queued."""
    with refused(INVALID, fields=fields):
        ready_service.create(**job)
    assert not ready_service.training.ListTrainingJobs(pb.ListTrainingJobsRequest()).training_jobs


@pytest.mark.parametrize(
    ("job", "text"),
    [
        ({"base": "models/none"}, "models/none"),
        ({"base": "models/base/versions/9"}, "models/base/versions/9"),
        ({"base": "models/base/aliases/none"}, "aliases/none"),
        ({"dataset": "datasets/none"}, "datasets/none"),
    ],
)
def test_what_does_not_exist_is_not_found(ready_service: RunningService, job: dict[str, str], text: str) -> None:
    """The message names it."""
    with refused(NOT_FOUND, text):
        ready_service.create(**job)


def test_an_empty_request_is_refused(ready_service: RunningService) -> None:
    """Nothing is guessed."""
    with refused(INVALID):
        ready_service.training.CreateTrainingJob(pb.CreateTrainingJobRequest())


def test_a_long_request_id_is_refused(ready_service: RunningService) -> None:
    """It is kept, so it has a limit."""
    with refused(INVALID, fields=["request_id"]):
        ready_service.create(request_id="x" * 129)


def test_a_queued_job_is_cancelled_at_once(ready_service: RunningService) -> None:
    """It ends without a runner, and cannot be cancelled again."""
    job = ready_service.create()
    request = pb.CancelTrainingJobRequest(name=job.name)
    assert ready_service.training.CancelTrainingJob(request).state == pb.TRAINING_JOB_STATE_CANCELLED
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "has ended already"):
        ready_service.training.CancelTrainingJob(request)
    states = [event.state for event in ready_service.watch(job.name)]
    assert states == [QUEUED, pb.TRAINING_JOB_STATE_CANCELLED]


def test_unknown_jobs_are_not_found(ready_service: RunningService) -> None:
    """For every call that names one; a malformed name is the caller's mistake."""
    missing = f"trainingJobs/{'0' * 32}"
    with refused(NOT_FOUND, missing):
        ready_service.job(missing)
    with refused(NOT_FOUND, missing):
        next(ready_service.watch(missing))
    with refused(NOT_FOUND, missing):
        ready_service.training.CancelTrainingJob(pb.CancelTrainingJobRequest(name=missing))
    with refused(INVALID, fields=["name"]):
        ready_service.job("trainingJobs/7")
    with refused(INVALID, fields=["after_sequence"]):
        next(ready_service.watch(missing, -1))


def test_jobs_come_in_pages(ready_service: RunningService) -> None:
    """Newest first."""
    names = [ready_service.create(seed=seed).name for seed in range(3)]
    first = ready_service.training.ListTrainingJobs(pb.ListTrainingJobsRequest(page_size=2))
    rest = ready_service.training.ListTrainingJobs(
        pb.ListTrainingJobsRequest(page_size=2, page_token=first.next_page_token)
    )
    assert [job.name for job in (*first.training_jobs, *rest.training_jobs)] == names[::-1]


def validate(service: RunningService, **job: Any) -> pb.TrainingJob:
    """Check a job without a dataset, and queue nothing."""
    defaults = {"model": "models/flowers", "base": "models/base"}
    request = pb.CreateTrainingJobRequest(training_job=pb.TrainingJob(**(defaults | job)), validate_only=True)
    return service.training.CreateTrainingJob(request)


def test_a_job_can_be_checked_before_its_dataset_is_there(ready_service: RunningService) -> None:
    """Every option but the dataset is, and nothing is queued."""
    job = validate(ready_service, seed=3, recipe=Recipe(last_stages={"epoch_count": 3}))
    assert (job.name, job.state, job.dataset) == ("", pb.TRAINING_JOB_STATE_UNSPECIFIED, "")
    assert (job.base, job.seed) == ("models/base/versions/1", 3)
    assert (job.recipe.last_stages.epoch_count, job.recipe.last_stages.stage_count) == (3, 1)
    balanced = validate(ready_service, recipe=Recipe(auto={"class_weights": pb.CLASS_WEIGHTS_BALANCED}))
    assert balanced.recipe.linear_probe.class_weights == pb.CLASS_WEIGHTS_BALANCED
    strong = validate(ready_service, recipe=Recipe(auto={"augmentation": pb.AUGMENTATION_STRONG}))
    assert strong.recipe.last_stages.augmentation.kind == pb.AUGMENTATION_STRONG
    assert not ready_service.training.ListTrainingJobs(pb.ListTrainingJobsRequest()).training_jobs


@pytest.mark.parametrize(
    ("job", "code"),
    [
        ({"model": "models/Rosen!"}, INVALID),
        ({"base": "models/none"}, NOT_FOUND),
        ({"dataset": "datasets/none"}, NOT_FOUND),
        ({"recipe": Recipe(full={"precision": 99})}, INVALID),  # type: ignore[arg-type]
        ({"recipe": Recipe(last_stages={"view_count": 3})}, INVALID),
        ({"recipe": Recipe(last_stages={"stage_count": 99})}, INVALID),
        ({"alias": "No!"}, INVALID),
        ({"alias": "models/flowers/aliases/live", "promote": pb.Promote(alias="models/flowers/aliases/live")}, INVALID),
        ({"promote": pb.Promote(alias="models/flowers/aliases/live", metric="none")}, INVALID),
        ({"priority": 9999}, INVALID),
        ({"max_failures": 0}, INVALID),
    ],
)
def test_what_cannot_be_queued_is_refused_when_it_is_checked(
    ready_service: RunningService, job: dict[str, Any], code: grpc.StatusCode
) -> None:
    """As it would be with the dataset."""
    with refused(code):
        validate(ready_service, **job)
