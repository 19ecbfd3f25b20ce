"""Jobs from request to registered version, each recipe on real pictures in a real worker process."""

from __future__ import annotations

import os
import signal

import grpc
import numpy as np
import pytest
import torch
from google.rpc.status_pb2 import Status
from maas.model_store.v1 import model_store_pb2
from maas.training.v1 import training_pb2 as pb
from torch import Tensor

from model_store.architectures import Head, build
from model_store.calibration import read_calibration
from model_store.manifests import Manifest
from model_store.modalities import Batch
from model_store.modalities.image.decoding import decode_image
from model_store.modalities.image.spec import PIXELS, ImageInputSpec, Pixels, normalise, to_pixels
from model_store.names import AliasName, parse_version
from model_store.registry.models import ModelStore
from model_store.tensors.stages import read_stage
from tests.training_service.making import picture, publish_base
from tests.training_service.running import RunningService, refused, until, worker_pids

SUCCEEDED, CANCELLED = pb.TRAINING_JOB_STATE_SUCCEEDED, pb.TRAINING_JOB_STATE_CANCELLED
QUEUED, PREPARING = pb.TRAINING_JOB_STATE_QUEUED, pb.TRAINING_JOB_STATE_PREPARING
RUNNING, CANCELLING = pb.TRAINING_JOB_STATE_RUNNING, pb.TRAINING_JOB_STATE_CANCELLING
ENDLESS = pb.Recipe(classic={"epoch_count": 10_000})


def get_version(service: RunningService, name: str) -> model_store_pb2.ModelVersion:
    """Return one version."""
    return service.registry.GetModelVersion(model_store_pb2.GetModelVersionRequest(name=name))


def states(events: list[pb.TrainingJobEvent]) -> list[int]:
    """Return the states among events."""
    return [event.state for event in events if event.WhichOneof("event") == "state"]


def answer(store: ModelStore, manifest: Manifest, pixels: Pixels) -> Tensor:
    """Answer as a server would: nothing but the manifest and its blobs."""
    chain = build(manifest.architecture, manifest.arguments, Head.from_json(manifest.head))
    for stage in manifest.stages:
        chain.load_stage(stage.name, read_stage(store.blobs, stage.digest))
    spec = ImageInputSpec.from_json(manifest.input_spec)
    with torch.inference_mode():
        return chain.eval()(Batch.of(normalise(torch.from_numpy(pixels), spec)))


def predict(store: ModelStore, version: str, image: bytes) -> str:
    """Return the label of an image."""
    manifest: Manifest = store.manifest(store.get_version(parse_version(version, "version")))
    spec = ImageInputSpec.from_json(manifest.input_spec)
    pixels = to_pixels(decode_image(image, max_pixels=10**6), spec)[None]
    return manifest.names[int(answer(store, manifest, pixels).argmax())]


def model_of(recipe: str) -> str:
    """Return the name of the model that a recipe makes here."""
    return f"models/{recipe.replace('_', '-')}"


RECIPES = {
    "linear_probe": pb.Recipe(linear_probe={}),
    "last_stages": pb.Recipe(
        last_stages={
            "stage_count": 2,
            "epoch_count": 3,
            "backbone_learning_rate_factor": 1,
            "augmentation": {"kind": pb.AUGMENTATION_CROP_AND_MIRROR},
            "view_count": 2,
        }
    ),
    "full": pb.Recipe(full={"epoch_count": 3, "batch_size": 8, "backbone_learning_rate_factor": 1}),
    "gradual": pb.Recipe(
        gradual={"epoch_count": 2, "backbone_learning_rate_factor": 1, "optimizer": {"find_learning_rate": True}}
    ),
    "classic": pb.Recipe(classic={"epoch_count": 2}),
    "scratch": pb.Recipe(scratch={"epoch_count": 1, "batch_size": 8}),
}


@pytest.fixture(scope="module")
def jobs(training_service: RunningService) -> dict[str, str]:
    """One job of each recipe, and one whose base has a head of another kind, queued together; their names."""
    publish_base(training_service.store, "conv", head=Head("conv", 5))
    queued = {
        name: training_service.create(
            model=model_of(name), recipe=recipe, seed=3, alias=f"{model_of(name)}/aliases/live"
        )
        for name, recipe in RECIPES.items()
    }
    queued["conv"] = training_service.create(base="models/conv", model="models/conv-tuned")
    return {name: job.name for name, job in queued.items()}


@pytest.mark.parametrize("recipe", RECIPES)
def test_each_recipe_makes_a_version(training_service: RunningService, jobs: dict[str, str], recipe: str) -> None:
    """It has lineage and metrics, and its alias points at it."""
    events = list(training_service.watch(jobs[recipe]))
    job = training_service.job(jobs[recipe])
    assert (job.state, job.error, job.attempt_count) == (SUCCEEDED, Status(), 1)
    assert states(events) == [QUEUED, PREPARING, RUNNING, SUCCEEDED]
    version = get_version(training_service, job.version)
    lineage = version.lineage
    assert (lineage.base, lineage.dataset, lineage.training_job) == (job.base, job.dataset, job.name)
    assert (lineage.seed, lineage.recipe["name"]) == (3, recipe)
    assert list(version.labels) == ["blue", "green", "red"]
    assert version.metrics == job.metrics
    assert (job.metrics.split, job.metrics.row_count) == ("test", 9)
    assert sum(sum(row.counts) for row in job.metrics.classification.confusion_matrix) == 9
    alias = training_service.store.get_alias(AliasName(recipe.replace("_", "-"), "live"))
    assert str(alias.version) == job.version


@pytest.mark.parametrize(
    ("recipe", "trained"),
    [
        ("linear_probe", {"head"}),
        ("last_stages", {"layer2", "layer3", "head"}),
        ("gradual", {"layer3", "head"}),
        ("classic", {"stem", "layer1", "layer2", "layer3", "head"}),
        ("scratch", {"stem", "layer1", "layer2", "layer3", "head"}),
    ],
)
def test_stages_that_do_not_train_are_shared(
    training_service: RunningService, jobs: dict[str, str], recipe: str, trained: set[str]
) -> None:
    """They keep the base's digests, and `pool` has no tensors; the best epoch may be the one before the first."""
    job = training_service.await_end(jobs[recipe])
    base = {stage.name: stage.digest for stage in get_version(training_service, job.base).stages}
    stages = get_version(training_service, job.version).stages
    changed = {stage.name for stage in stages if base.get(stage.name, stage.digest) != stage.digest}
    assert changed | {"head"} == trained or (recipe in {"last_stages", "gradual"} and not changed)


def test_a_rate_that_was_found_is_in_the_lineage(training_service: RunningService, jobs: dict[str, str]) -> None:
    """The job says what was asked for, the version what it came to."""
    job = training_service.await_end(jobs["gradual"])
    recipe = get_version(training_service, job.version).lineage.recipe
    assert job.recipe.gradual.optimizer.find_learning_rate
    assert 1e-6 < recipe["learning_rate"] < 1
    assert recipe["learning_rate"] != job.recipe.gradual.optimizer.learning_rate


def test_a_linear_probe_is_small_and_right(training_service: RunningService, jobs: dict[str, str]) -> None:
    """It adds its head and what it answers to rows of the dataset, and its blobs answer by themselves."""
    job = training_service.await_end(jobs["linear_probe"])
    version = get_version(training_service, job.version)
    assert version.added_bytes < 0.01 * get_version(training_service, job.base).size_bytes
    assert job.metrics.values["accuracy"] > 0.7
    answers = [predict(training_service.store, job.version, picture("blue", seed)) for seed in range(100, 110)]
    assert answers.count("blue") >= 7


@pytest.mark.parametrize("recipe", RECIPES)
def test_each_version_has_rows_to_calibrate_by(
    training_service: RunningService, jobs: dict[str, str], recipe: str
) -> None:
    """All nine test rows, in a pack of the dataset; and the answers of the very chain that was published."""
    store = training_service.store
    ended = [training_service.await_end(jobs[each]) for each in (recipe, "linear_probe")]
    version, probe = (store.get_version(parse_version(job.version, "version")) for job in ended)
    assert version.calibration is not None
    assert probe.calibration is not None
    assert version.calibration.rows == probe.calibration.rows
    assert version.calibration.rows in training_service.datasets.get(version.lineage.dataset_id or "").packs
    manifest = store.manifest(version)
    spec = ImageInputSpec.from_json(manifest.input_spec)
    kept = read_calibration(store.blobs, version.calibration, spec, len(manifest.names))
    assert len(kept.rows) == 9
    assert len(np.unique(kept.logits, axis=0)) == 9
    # Float32 sums in another order: logits of 8 differ in the last place, and by more than 1e-5.
    np.testing.assert_allclose(kept.logits, answer(store, manifest, kept.rows.arrays[PIXELS]), rtol=1e-5, atol=1e-5)
    sizes = {digest: store.blobs.size(digest) for digest in version.blob_sizes}
    assert version.blob_sizes == sizes
    assert version.calibration.sizes.items() <= sizes.items()


def test_progress_covers_the_job(training_service: RunningService, jobs: dict[str, str]) -> None:
    """Phases in order, growing fractions, a rate of images, and figures of each epoch."""
    events = training_service.watch(jobs["last_stages"])
    progress = [event.progress for event in events if event.HasField("progress")]
    phases = list(dict.fromkeys(each.phase for each in progress))
    assert phases == [*range(pb.PHASE_DECODING, pb.PHASE_CHOOSING_INPUT)]
    fractions = [each.fraction_done for each in progress]
    assert fractions[0] == 0
    assert fractions == sorted(fractions)
    epochs = [each for each in progress if each.phase == pb.PHASE_TRAINING and each.HasField("validation_metric")]
    assert [(each.epoch, each.epoch_count) for each in epochs] == [(1, 3), (2, 3), (3, 3)]
    assert all(each.time_left.ToMilliseconds() >= 0 and each.HasField("time_left") for each in progress)
    assert all(each.examples_per_second > 0 and each.HasField("loss") for each in epochs)


def test_a_watch_resumes_after_a_number(training_service: RunningService, jobs: dict[str, str]) -> None:
    """Events are numbered without gaps, and a later watch sees the rest alone."""
    events = list(training_service.watch(jobs["classic"]))
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert training_service.job(jobs["classic"]).last_sequence == len(events)
    assert list(training_service.watch(jobs["classic"], 3)) == events[3:]
    assert list(training_service.watch(jobs["classic"], len(events))) == []


def test_a_conv_head_becomes_a_linear_one(training_service: RunningService, jobs: dict[str, str]) -> None:
    """SqueezeNet's own head goes, its features stay, and the stage that its base lacks is made."""
    job = training_service.await_end(jobs["conv"])
    assert job.state == SUCCEEDED
    version = get_version(training_service, job.version)
    assert [stage.name for stage in version.stages] == ["stem", "layer1", "layer2", "layer3", "pool", "head"]


def test_a_running_job_is_cancelled(training_service: RunningService) -> None:
    """The worker stops within moments, and nothing is published."""
    job = training_service.create(recipe=ENDLESS, model="models/cancelled")
    training_service.await_training(job.name)
    answer = training_service.training.CancelTrainingJob(pb.CancelTrainingJobRequest(name=job.name))
    assert answer.state == CANCELLING
    assert states(list(training_service.watch(job.name)))[-2:] == [CANCELLING, CANCELLED]
    until(lambda: not worker_pids())
    with refused(grpc.StatusCode.NOT_FOUND, "models/cancelled"):
        training_service.registry.GetModel(model_store_pb2.GetModelRequest(name="models/cancelled"))


def test_a_killed_worker_is_followed_by_another(training_service: RunningService) -> None:
    """The job says what happened, starts again, and succeeds."""
    job = training_service.create(recipe=pb.Recipe(classic={"epoch_count": 40}), model="models/killed")
    training_service.await_training(job.name)
    for pid in worker_pids():
        os.kill(pid, signal.SIGKILL)
    events = list(training_service.watch(job.name))
    assert training_service.job(job.name).attempt_count == 2
    assert states(events) == [QUEUED, PREPARING, RUNNING, QUEUED, PREPARING, RUNNING, SUCCEEDED]
    assert any("attempt 1 was lost: its worker was ended by SIGKILL" in event.message for event in events)


def test_a_damaged_base_fails_the_job_with_the_reason(training_service: RunningService) -> None:
    """What would fail again is not tried again."""
    damaged = publish_base(training_service.store, "damaged", seed=1)
    path = training_service.store.blobs.path(damaged.stages[0].digest)
    path.chmod(0o644)
    path.write_bytes(b"damaged")
    job = training_service.await_end(training_service.create(base="models/damaged", model="models/none").name)
    assert (job.state, job.attempt_count) == (pb.TRAINING_JOB_STATE_FAILED, 1)
    assert damaged.stages[0].digest in job.error.message
    assert "is corrupt" in job.error.message
