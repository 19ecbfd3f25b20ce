"""kill -9 of either service: nothing is lost, nothing torn is served, and no job runs for ever."""

from __future__ import annotations

from pathlib import Path

import pytest
from maas.inference.v1 import inference_pb2
from maas.training.v1 import training_pb2

from maas_client.client import Client
from maas_client.stack.processes import INFERENCE, TRAINING, Stack
from model_store.blobs.local import LocalBlobs
from model_store.tensors.stages import read_stage
from tests.answers import alike

ENDED = {
    training_pb2.TRAINING_JOB_STATE_SUCCEEDED,
    training_pb2.TRAINING_JOB_STATE_FAILED,
    training_pb2.TRAINING_JOB_STATE_CANCELLED,
}
# Where the job stands when the service is killed: before a runner took it, at its start, in the middle, at its end.
_SLOW = pytest.mark.slow
MOMENTS = (*(pytest.param(moment, marks=_SLOW) for moment in ("queued", "preparing", "running")), "progress")


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_training_service_finishes_its_job_after_a_restart(
    client: Client, stack: Stack, photos: Path, tmp_path: Path, moment: str
) -> None:
    """The job ends, exactly one complete version is registered, and the model that served goes on serving."""
    client.upload_dataset("shapes", photos)
    recipe = training_pb2.Recipe(last_stages={"epoch_count": 2})
    job = client.finetune("shapes", base="squeezenet", dataset="shapes", recipe=recipe, alias="production")
    _await_moment(client, job.name, moment)
    stack.services[TRAINING.module].kill()
    assert client.predict("squeezenet", [next(photos.rglob("*.png"))]).version == "models/squeezenet/versions/1"

    stack.start(TRAINING)
    with Client(stack.await_serving(or_not_ready=True)) as after:
        for _ in after.watch(job.name):
            pass
        ended = after.job(job.name)
        assert ended.state in ENDED
        assert ended.state == training_pb2.TRAINING_JOB_STATE_SUCCEEDED, ended.error
        versions = list(after.versions("shapes"))
        assert [version.name for version in versions] == ["models/shapes/versions/1"]
        blobs = LocalBlobs(tmp_path / "home/blobs")
        for stage in versions[0].stages:
            read_stage(blobs, stage.digest)


def test_a_killed_inference_service_serves_again(client: Client, stack: Stack, photos: Path) -> None:
    """After kill -9 and a restart the same version answers."""
    photo = next(photos.rglob("*.png"))
    before = client.predict("squeezenet", [photo])
    stack.services[INFERENCE.module].kill()
    stack.start(INFERENCE)
    with Client(stack.await_serving(or_not_ready=True)) as after:
        assert alike(after.predict("squeezenet", [photo]), before)


def test_a_lost_blob_is_reported_and_the_rest_is_served(
    client: Client, stack: Stack, photos: Path, tmp_path: Path
) -> None:
    """A version whose blob is damaged on the disk shows FAILED with the digest; a healthy one still answers."""
    client.upload_dataset("shapes", photos)
    job = client.finetune("shapes", base="squeezenet", dataset="shapes", alias="production")
    for _ in client.watch(job.name):
        pass
    head = client.version("shapes/1").stages[-1].digest
    path = LocalBlobs(tmp_path / "home/blobs").path(head)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    stack.services[INFERENCE.module].kill()
    stack.start(INFERENCE)
    with Client(stack.await_serving(or_not_ready=True)) as after:
        state = after.inference.GetServedModel(inference_pb2.GetServedModelRequest(name="models/shapes"))
        assert state.versions[0].state == inference_pb2.VERSION_STATE_FAILED
        assert head in state.versions[0].reason
        assert after.predict("squeezenet", [next(photos.rglob("*.png"))]).version == "models/squeezenet/versions/1"


def test_both_services_stop_in_order(client: Client, stack: Stack) -> None:
    """SIGTERM ends each of them with exit code 0."""
    assert list(client.models())
    assert {service.stop() for service in stack.services.values()} == {0}


def _await_moment(client: Client, job: str, moment: str) -> None:
    if moment == "queued":
        return
    for event in client.watch(job):
        kind = event.WhichOneof("event")
        state = training_pb2.TrainingJobState.Name(event.state).removeprefix("TRAINING_JOB_STATE_").lower()
        if moment == kind or (kind == "state" and moment == state):
            return
