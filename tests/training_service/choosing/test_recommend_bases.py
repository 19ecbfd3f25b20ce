"""RecommendBases on a real service: progress, then a recommendation, whose features jobs use again."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from maas.training.v1 import training_pb2 as pb

from tests.training_service.making import photos, publish_base, tar_of
from tests.training_service.running import TIMEOUT, RunningService, refused, running_service, settings_of


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the service."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def service(home: Path) -> Iterator[RunningService]:
    """A service that runs a job, with a base, and photos of three labels."""
    with running_service(home, num_concurrent_jobs=1, upkeep_seconds=0) as running:
        publish_base(running.store)
        running.upload(tar_of(photos(12, ("blue", "green", "red"))))
        yield running


def recommended(service: RunningService, **request: object) -> list[pb.RecommendBasesResponse]:
    """Return all messages of a stream."""
    message = pb.RecommendBasesRequest(**{"dataset": "datasets/photos", **request})  # type: ignore[arg-type]
    return list(service.training.RecommendBases(message, timeout=TIMEOUT))


def test_a_job_computes_no_feature_again(service: RunningService, home: Path) -> None:
    """The prepared rows and the features of the recommendation are those of the linear probe that follows it."""
    *progress, last = recommended(service)
    found = last.recommendation
    assert pb.ADVICE_KIND_MORE_ROWS in {each.kind for each in found.advice}
    shares = [each.progress.fraction_done for each in progress]
    assert shares == sorted(shares)
    assert {each.progress.base for each in progress} == {"models/base/versions/1"}
    assert (found.dataset, found.metric, found.row_count) == ("datasets/photos", "accuracy", 27)
    assert list(found.bases) == [found.chosen]
    assert found.chosen.base == "models/base/versions/1"
    assert found.chosen.score_low <= found.chosen.score <= found.chosen.score_high
    assert found.chosen.as_good_as_best
    assert found.chosen.recipe.WhichOneof("recipe") == "linear_probe"
    assert set(found.chosen.training_times) == {"linear_probe", "last_stages", "full"}
    assert "is the only candidate: accuracy" in found.reason
    entries = settings_of(home).cache_folder / "arrays" / "entries"
    before = {path.name for path in entries.iterdir()}
    job = service.create(base=found.chosen.base, recipe=found.chosen.recipe)
    assert service.await_end(job.name).state == pb.TRAINING_JOB_STATE_SUCCEEDED
    after = {path.name for path in entries.iterdir()}
    assert len(before) == 2  # prepared rows, and features of training and validation rows
    assert before < after
    assert len(after) == 4  # those of test rows and of mirror images, too


def test_limits_and_names_are_checked(service: RunningService) -> None:
    """Each wrong field by its name, before a process is started; a limit that leaves nothing says so."""
    fields = ("dataset", "bases[0]", "max_size_bytes")
    with refused(grpc.StatusCode.INVALID_ARGUMENT, fields=fields):
        recommended(service, dataset="photos", bases=["base"], max_size_bytes=0)
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "above 0 seconds", fields=("max_latency",)):
        recommended(service, max_latency=timedelta(0))
    with refused(grpc.StatusCode.NOT_FOUND, "models/missing"):
        recommended(service, bases=["models/missing"])
    with refused(grpc.StatusCode.NOT_FOUND, "datasets/missing"):
        recommended(service, dataset="datasets/missing")
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "models/base/versions/1 (size: ", fields=("dataset",)):
        recommended(service, max_size_bytes=1000)


def test_a_dataset_of_too_few_rows_is_refused(service: RunningService) -> None:
    """Of one label an upload is refused already."""
    service.upload(tar_of(photos(4)), "few")
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "has 6 rows to compare bases on, and 10 are needed"):
        recommended(service, dataset="datasets/few")
