"""Jobs that leave their base to the service: it is recommended first, once, and recorded with the reason."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from maas.model_store.v1 import model_store_pb2 as registry_pb
from maas.training.v1 import training_pb2 as pb

from model_store.errors import IllegalState
from model_store.names import VersionName, parse_job
from model_store.records.job_lifecycle import JobState
from model_store.records.jobs import TrainingJob
from model_store.registry.jobs import Claim, JobStore
from tests.training_service.making import photos, publish_base, publish_mlp, tar_of
from tests.training_service.reports.pages import report
from tests.training_service.running import RunningService, refused, running_service, settings_of
from training_service.jobs.base_choice import BaseChooser
from training_service.training.progress import Progress

NUMBERS = (
    "a,b,c,kind\n" + "".join(f"{n % 7},{n % 3},{n * n % 11},{'even' if n % 2 else 'odd'}\n" for n in range(60))
).encode()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the service."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def service(home: Path) -> Iterator[RunningService]:
    """A service that runs a job, with two bases of numbers and one of images, and data for both."""
    with running_service(home, num_concurrent_jobs=1, upkeep_seconds=0) as running:
        publish_mlp(running.store, "small", (3, 8))
        publish_mlp(running.store, "large", (3, 64))
        publish_base(running.store)
        running.upload(tar_of(photos(12, ("blue", "green", "red"))))
        running.upload(NUMBERS, "rows")
        yield running


@pytest.fixture
def idle(tmp_path: Path) -> Iterator[RunningService]:
    """A service that runs no job, with a base and photos."""
    with running_service(tmp_path, num_concurrent_jobs=0, upkeep_seconds=0) as running:
        publish_base(running.store)
        running.upload(tar_of(photos(12, ("blue", "red"))))
        yield running


def test_a_job_takes_the_recommended_base_and_says_why(service: RunningService) -> None:
    """Its features are computed once, and the job, its events and the version have the reason."""
    queued = service.create(base="auto", recipe=None)
    assert queued.base == "auto" or queued.HasField("recommendation")
    events = list(service.watch(queued.name))
    job = service.job(queued.name)
    assert job.state == pb.TRAINING_JOB_STATE_SUCCEEDED, job.error
    found = job.recommendation
    assert job.base == found.chosen.base == "models/base/versions/1"
    assert "is the only candidate" in found.reason
    assert {each.base for each in found.bases} == {job.base}
    assert job.recipe.WhichOneof("recipe") == "linear_probe"
    assert [f"base: {job.base}, as the service recommends: {found.reason}"] == [
        each.message for each in events if each.message.startswith("base: ")
    ]
    progress = [each.progress for each in events if each.HasField("progress")]
    assert progress[0].phase == pb.PHASE_CHOOSING_BASE
    shares = [each.fraction_done for each in progress]
    assert shares == sorted(shares)
    version = service.store.get_version(VersionName("flowers", 1))
    assert version.lineage.recipe["base_choice"] == found.reason
    listed = service.training.ListTrainingJobs(pb.ListTrainingJobsRequest(filter=f"base = {job.base}"))
    (shown,) = [each for each in listed.training_jobs if each.name == job.name]
    assert shown.recommendation.reason == found.reason
    assert not shown.recommendation.bases
    page = report(service, job.name)
    assert {"Choice of the base", "Advice on the data"} <= set(page.texts["h2"])
    assert f"The service chose the base: {found.reason}." in page.texts["body"][0]
    assert found.advice[0].text in page.texts["body"][0]
    assert "Accuracy with its 90 % interval" in page.texts["figcaption"]


@pytest.mark.slow  # fits heads of every kind
def test_a_head_is_fitted_on_the_columns_where_that_is_best(service: RunningService) -> None:
    """The base that needs no weights is published for the job, and the head that was best is its recipe."""
    job = service.await_end(
        service.create(base="auto", dataset="datasets/rows", model="models/numbers", recipe=None).name
    )
    assert job.state == pb.TRAINING_JOB_STATE_SUCCEEDED, job.error
    assert len(job.recommendation.bases) > 2
    chosen = job.recommendation.chosen
    assert job.recipe.WhichOneof("recipe") == chosen.recipe.WhichOneof("recipe")
    if not chosen.base:
        assert job.recipe.fit_head.head.WhichOneof("kind") == chosen.recipe.fit_head.head.WhichOneof("kind")


@pytest.mark.slow  # as above
def test_the_recipe_of_the_caller_decides_which_bases_suit(service: RunningService) -> None:
    """Stages are trained: a base without any is left out, with the reason."""
    recipe = pb.Recipe(full=pb.Recipe.Full(epoch_count=1))
    job = service.await_end(
        service.create(base="auto", dataset="datasets/rows", model="models/tuned", recipe=recipe).name
    )
    assert job.state == pb.TRAINING_JOB_STATE_SUCCEEDED, job.error
    assert job.recipe.full.epoch_count == 1
    assert job.base in {"models/small/versions/1", "models/large/versions/1"}
    assert {each.base for each in job.recommendation.left_out_bases} == {"rows"}


def test_a_job_without_a_base_to_choose_fails(service: RunningService) -> None:
    """Nothing is published, and the error says what is missing."""
    service.upload(_texts(), "texts", modality="text")
    job = service.await_end(
        service.create(base="auto", dataset="datasets/texts", model="models/none", recipe=None).name
    )
    assert job.state == pb.TRAINING_JOB_STATE_FAILED
    assert "no base" in job.error.message
    assert not job.HasField("recommendation")
    assert job.base == "auto"


def test_a_later_attempt_does_not_choose_anew(idle: RunningService, tmp_path: Path) -> None:
    """The worker of the first attempt is gone after the choice: the next one has it."""
    name = idle.create(base="auto", recipe=None).name
    jobs = JobStore(idle.store._database, lease_seconds=60)
    first = jobs.claim("first")
    assert first is not None
    chosen, told = _choose(idle, jobs, tmp_path, first)
    assert len(told) == 1
    assert chosen.spec.base == VersionName("base", 1)
    jobs.release(first, "it was killed")
    publish_base(idle.store, "better", seed=1)
    assert jobs.get(parse_job(name, "name")).recommendation == chosen.recommendation
    with refused(grpc.StatusCode.FAILED_PRECONDITION, name):
        idle.registry.DeleteModelVersion(registry_pb.DeleteModelVersionRequest(name="models/base/versions/1"))
    again = BaseChooser(
        settings_of(tmp_path), idle.store, idle.datasets, jobs, _fail_progress, _fail_text, lambda: None
    ).chosen(Claim(first.job_id, "second", 2), jobs.get(first.job_id))
    assert (again.spec, again.recommendation) == (chosen.spec, chosen.recommendation)


def test_a_base_that_is_deleted_meanwhile_is_not_recorded(idle: RunningService) -> None:
    """The job keeps what its caller asked for."""
    idle.create(base="auto", recipe=None)
    jobs = JobStore(idle.store._database, lease_seconds=60)
    claim = jobs.claim("runner")
    assert claim is not None
    idle.store.delete_version(VersionName("base", 1))
    with pytest.raises(IllegalState, match="was deleted"):
        jobs.choose_base(claim, VersionName("base", 1), {"name": "full"}, {"reason": "it is best"})
    job = jobs.get(claim.job_id)
    assert (job.state, job.recommendation, job.spec.base.model_id) == (JobState.PREPARING, None, "")


def test_a_request_is_checked_before_the_choice(idle: RunningService, tmp_path: Path) -> None:
    """Fields are refused at once; a repeat of a request finds the job, also after the choice."""
    with refused(grpc.StatusCode.INVALID_ARGUMENT, fields=("training_job.recipe.full.epoch_count",)):
        idle.create(base="auto", recipe=pb.Recipe(full=pb.Recipe.Full(epoch_count=-1)))
    first = idle.create("once", base="auto", recipe=None)
    jobs = JobStore(idle.store._database, lease_seconds=60)
    claim = jobs.claim("runner")
    assert claim is not None
    _choose(idle, jobs, tmp_path, claim)
    assert idle.create("once", base="auto", recipe=None).name == first.name


def _choose(service: RunningService, jobs: JobStore, home: Path, claim: Claim) -> tuple[TrainingJob, list[str]]:
    """Choose as a worker does, in this process; return the job, and what its watchers are told."""
    told: list[str] = []
    chooser = BaseChooser(
        settings_of(home), service.store, service.datasets, jobs, lambda _: None, told.append, lambda: None
    )
    return chooser.chosen(claim, jobs.get(claim.job_id)), told


def _texts() -> bytes:
    """Return a table of texts of two labels; nothing in the store reads them."""
    lines = (f"the {number}th text of {number % 7} words,{'ab'[number % 2]}" for number in range(60))
    return "\n".join(["text,label", *lines]).encode()


def _fail_progress(_: Progress) -> None:
    raise AssertionError


def _fail_text(_: str) -> None:
    raise AssertionError
