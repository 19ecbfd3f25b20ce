"""The main job between real processes: import, upload, fine-tune, evaluate, register, hot-load, predict."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest
from maas.inference.v1 import inference_pb2
from maas.training.v1 import training_pb2

from grpc_runtime.child_process import command_of
from maas_client.client import Client
from maas_client.demo.traffic import Traffic

GRPCURL = str(Path(sys.executable).parent / "grpcurl")


def test_from_a_folder_of_images_to_a_prediction(shared_client: Client, photos: Path) -> None:
    """Every step over the wire; the second version replaces the first under load without one failed request."""
    dataset = shared_client.upload_dataset("shapes", photos)
    assert [label.label for label in dataset.labels] == ["disc", "square", "stripes"]
    first = _finetune(shared_client, "linear_probe")
    assert first.state == training_pb2.TRAINING_JOB_STATE_SUCCEEDED, first.error
    version = shared_client.version(first.version)
    assert version.lineage.base == "models/squeezenet/versions/1"
    assert version.lineage.dataset == "datasets/shapes"
    assert version.lineage.recipe["name"] == "linear_probe"
    assert [alias.rpartition("/")[2] for alias in version.aliases] == ["production"]
    # A linear probe stores its head, its manifest, and nothing of the backbone.
    assert version.added_bytes < 0.01 * version.size_bytes
    shared_client.wait_ready(version.name)
    test_photos = [photos / row.path for row in shared_client.dataset_rows("shapes", "test")]
    answer = shared_client.predict("shapes", test_photos, top_k=1)
    assert answer.version == version.name
    hits = sum(
        prediction.classification.scores[0].label == path.parent.name
        for prediction, path in zip(answer.predictions, test_photos, strict=True)
    )
    assert hits / len(test_photos) == version.metrics.values["accuracy"]

    traffic = Traffic(shared_client.settings, "shapes", test_photos, num_clients=8, pause_seconds=0.05)
    with traffic:
        second = shared_client.version(_finetune(shared_client, "last_stages", epoch_count=1).version)
        traffic.first_answer_from(second.name, timeout_seconds=30)
        traffic.await_answers(50, timeout_seconds=30)
    assert traffic.num_failed == 0
    assert {answer.version for answer in traffic.answers} == {version.name, second.name}


def test_grpcurl_reads_both_servers_without_a_proto(shared_client: Client) -> None:
    """Reflection, health and JSON calls work with a client that is not ours."""
    for address, services in (
        (
            shared_client.settings.training_address,
            ["maas.model_store.v1.ModelStoreService", "maas.training.v1.TrainingService"],
        ),
        (
            shared_client.settings.inference_address,
            ["maas.inference.v1.InferenceService", "inference.GRPCInferenceService"],
        ),
    ):
        listed = _grpcurl(address, "list").split()
        assert {*services, "grpc.health.v1.Health"} <= set(listed)
        for service in services:
            assert "is a service" in _grpcurl(address, "describe", service)
            health = _grpcurl(address, "grpc.health.v1.Health/Check", data={"service": service})
            assert json.loads(health) == {"status": "SERVING"}
    found = _grpcurl(
        shared_client.settings.training_address, "maas.model_store.v1.ModelStoreService/ListModels", data={}
    )
    assert "models/squeezenet" in [each["name"] for each in json.loads(found)["models"]]
    served = _grpcurl(
        shared_client.settings.inference_address, "maas.inference.v1.InferenceService/ListServedModels", data={}
    )
    assert "models/squeezenet" in [each["name"] for each in json.loads(served)["served_models"]]
    ready = _grpcurl(
        shared_client.settings.inference_address,
        "inference.GRPCInferenceService/ModelReady",
        data={"name": "squeezenet"},
    )
    assert json.loads(ready) == {"ready": True}


def test_the_command_does_the_whole_job(shared_client: Client, photos: Path) -> None:
    """A person types four commands, and reads JSON where a program would."""
    run = _command(shared_client)
    job = json.loads(
        run("finetune", str(photos), "--base", "squeezenet", "--model", "typed", "--alias", "production", "--json")
    )
    assert job["state"] == "TRAINING_JOB_STATE_SUCCEEDED"
    assert job["metrics"]["split"] == "test"
    # As it is: the command has waited until the version answers.
    request = inference_pb2.PredictRequest(name="models/typed", examples=[_image(photos / "disc/00.png")])
    assert shared_client.inference.Predict(request).version == job["version"]
    answers = json.loads(run("predict", "typed", str(photos / "disc/00.png"), "--json"))
    assert answers[0]["version"] == job["version"]
    assert len(answers[0]["classification"]["scores"]) == 3
    assert "models/typed/versions/1" in run("predict", "typed@production", str(photos / "disc/00.png"))
    assert "linear_probe" in run("versions", "typed")
    assert "SUCCEEDED" in run("jobs")
    assert job["dataset"].partition("/")[2] in run("datasets")
    run("alias", "set", "typed", "canary", "1", "--reason", "try it")
    assert "try it" in run("alias", "history", "typed", "canary")
    shown = run("jobs", "show", job["name"].partition("/")[2])
    assert "accuracy" in shown


@pytest.mark.slow
def test_a_fine_tune_says_which_version_answers(shared_client: Client, photos: Path) -> None:
    """Its own, where an alias was to name it; else the one before, and how to promote the new one."""
    run = _command(shared_client)
    given = (
        "finetune",
        str(photos),
        "--base",
        "squeezenet",
        "--model",
        "told",
        "--recipe",
        "linear_probe",
        "--fit",
        "crop",
    )
    assert "maas predict told FILE" in run(*given, "--alias", "production")
    second = run(*given)
    assert "production still names 1; promote with `maas alias set told production 2`" in second
    assert "maas predict told/2 FILE" in second
    run(*given, "--promote", "production", "--min-delta", "0.99", "--detach")
    watched = run("jobs", "watch", "latest", may_fail=True)
    assert "production still names 1; promote with `maas alias set told production 3`" in watched
    run("alias", "set", "told", "production", "3")
    assert "maas predict told FILE" in run("jobs", "watch", "latest", may_fail=True)
    assert "maas predict told@next FILE" in run(*given, "--alias", "next")


def test_a_zip_archive_is_a_dataset_too(shared_client: Client, photos: Path, tmp_path: Path) -> None:
    """The same images give the same labels and counts, whatever they are packed in."""
    archive = Path(shutil.make_archive(str(tmp_path / "shapes"), "zip", photos))
    packed, folder = shared_client.upload_dataset("packed", archive), shared_client.upload_dataset("folder", photos)
    assert packed.labels == folder.labels
    assert packed.digest == folder.digest


def test_bad_input_is_answered_and_the_services_go_on(shared_client: Client) -> None:
    """After every refusal both services are healthy."""
    for call, request in (
        (shared_client.inference.Predict, inference_pb2.PredictRequest(name="models/squeezenet")),
        (shared_client.inference.Embed, inference_pb2.EmbedRequest(name="x")),
        (shared_client.training.CreateTrainingJob, training_pb2.CreateTrainingJobRequest()),
        (shared_client.training.GetDataset, training_pb2.GetDatasetRequest(name="datasets/../x")),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            call(request)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    for address in (shared_client.settings.training_address, shared_client.settings.inference_address):
        assert json.loads(_grpcurl(address, "grpc.health.v1.Health/Check")) == {"status": "SERVING"}


def _finetune(client: Client, recipe: str, **options: Any) -> training_pb2.TrainingJob:
    job = client.finetune(
        "shapes",
        base="squeezenet",
        dataset="shapes",
        recipe=training_pb2.Recipe(**{recipe: options}),
        alias="production",
    )
    sequences = [event.sequence for event in client.watch(job.name)]
    assert sequences == list(range(1, len(sequences) + 1))
    return client.job(job.name)


def _image(path: Path) -> inference_pb2.Example:
    return inference_pb2.Example(file=path.read_bytes())


def _grpcurl(address: str, *words: str, data: Mapping[str, Any] | None = None) -> str:
    options = ["-d", json.dumps(data)] if data is not None else []
    command = [GRPCURL, "-plaintext", *options, address, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _command(client: Client):  # type: ignore[no-untyped-def]  # noqa: ANN202  a function of words
    environment = {
        "MAAS_TRAINING_ADDRESS": client.settings.training_address,
        "MAAS_INFERENCE_ADDRESS": client.settings.inference_address,
        "PATH": "/usr/bin:/bin",
        "COLUMNS": "200",
    }

    def run(*words: str, may_fail: bool = False) -> str:
        command = [*command_of("maas_client"), *words]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        assert may_fail or done.returncode == 0, done.stderr
        return done.stdout

    return run
