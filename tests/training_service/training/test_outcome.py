"""Training that came to nothing says so: it fails with what to do, or keeps the better start with a remark."""

from __future__ import annotations

import pytest
from google.rpc import code_pb2
from maas.training.v1 import training_pb2 as pb

from model_store.names import parse_version
from tests.training_service.running import TIMEOUT, RunningService

SUCCEEDED, FAILED = pb.TRAINING_JOB_STATE_SUCCEEDED, pb.TRAINING_JOB_STATE_FAILED


def ended(service: RunningService, name: str, **recipe: object) -> pb.TrainingJob:
    """Train by a recipe and return the job."""
    return service.await_end(service.create(recipe=pb.Recipe(**{name: recipe}), model=f"models/{name}").name)  # type: ignore[arg-type]


def test_the_refitted_probe_is_kept_where_no_epoch_improved_on_it(training_service: RunningService) -> None:
    """The head of training and validation rows, the base's stages bit by bit, and a remark wherever one looks."""
    asked = {"epoch_count": 2, "batch_size": 8, "optimizer": {"learning_rate": 1e6}, "backbone_learning_rate_factor": 1}
    job = ended(training_service, "full", **asked)
    assert job.state == SUCCEEDED, job.error
    (remark,) = job.remarks
    assert "no epoch improved on the probe" in remark
    assert "choose a learning_rate below 1e+06" in remark
    assert remark in [event.message for event in training_service.watch(job.name)]
    store = training_service.store
    version = store.get_version(parse_version(job.version, "version"))
    base = store.get_version(version.lineage.base)  # type: ignore[arg-type]  # a fine-tune has one
    kept = {stage.name: stage.digest for stage in base.stages}
    assert {stage.name for stage in version.stages if kept.get(stage.name) != stage.digest} == {"head"}
    assert version.lineage.recipe["kept_epoch"] == 0
    request = pb.EvaluateModelVersionRequest(name=job.version, dataset="datasets/photos", split=pb.SPLIT_VALIDATION)
    *_, last = training_service.training.EvaluateModelVersion(request, timeout=TIMEOUT)
    assert "its head was fitted again on training and validation rows" in last.evaluation.warning
    page = training_service.training.GetReport(pb.GetReportRequest(name=job.name), timeout=TIMEOUT).html
    assert "no epoch improved on the probe" in page


@pytest.mark.parametrize("name", ["classic", "scratch"])
def test_what_diverged_from_a_random_start_fails(training_service: RunningService, name: str) -> None:
    """There is nothing better to register; the error says what to do."""
    rate: dict[str, object] = {"learning_rate": 1e6}
    rate = rate if name == "classic" else {"optimizer": rate}
    job = ended(training_service, name, epoch_count=3, batch_size=8, **rate)
    assert job.state == FAILED
    assert "choose a learning_rate below 1e+06" in job.error.message
    assert job.error.code == code_pb2.FAILED_PRECONDITION
    assert not job.version
