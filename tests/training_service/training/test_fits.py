"""Jobs choose how an image fills its square, and whoever serves, evaluates or goes on prepares it in the same way."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from maas.training.v1 import training_pb2 as pb
from PIL import Image

from model_store.manifests import Manifest
from model_store.names import parse_version
from tests.training_service.making import SPEC, publish_base, publish_mlp, tar_of
from tests.training_service.reports.pages import report
from tests.training_service.running import TIMEOUT, RunningService, refused, running_service, settings_of

COLOURS = {"blue": (40, 40, 220), "red": (220, 40, 40)}
PROBE = pb.Recipe(linear_probe={})


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the service."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def service(home: Path) -> Iterator[RunningService]:
    """A service with a base, and photos of which only the ends tell the label: a centre crop is noise."""
    with running_service(home, lease_seconds=60) as running:
        publish_base(running.store)
        publish_mlp(running.store, "numbers", (4, 8))
        files = {f"{label}/{number}.png": wide(label, number) for label in COLOURS for number in range(20)}
        running.upload(tar_of(files), "wide")
        yield running


def wide(label: str, number: int) -> bytes:
    """Return a picture three times as wide as high: noise between two ends of one colour."""
    pixels = np.random.default_rng([number, *COLOURS[label]]).integers(0, 256, (80, 240, 3), np.uint8)
    pixels[:, :50] = pixels[:, -50:] = COLOURS[label]
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def ended(
    service: RunningService, recipe: pb.Recipe, base: str = "base", model: str = "tuned", dataset: str = "wide"
) -> pb.TrainingJob:
    """Run a job that succeeds."""
    job = service.create(model=f"models/{model}", base=f"models/{base}", dataset=f"datasets/{dataset}", recipe=recipe)
    job = service.await_end(job.name)
    assert job.state == pb.TRAINING_JOB_STATE_SUCCEEDED, job.error
    return job


def manifest_of(service: RunningService, job: pb.TrainingJob) -> Manifest:
    """Return the manifest of a job's version."""
    return service.store.manifest(service.store.get_version(parse_version(job.version, "version")))


@pytest.fixture(scope="module")
def chosen(service: RunningService) -> pb.TrainingJob:
    """A job that was left the choice."""
    return ended(service, PROBE)


def test_a_fit_that_shows_more_is_chosen(service: RunningService, chosen: pb.TrainingJob) -> None:
    """It stands in the version's manifest, in its lineage, and in the job's events with the figures of each."""
    fit = manifest_of(service, chosen).input_spec["fit"]
    assert fit in {"pad", "squash"}
    assert chosen.metrics.values["accuracy"] == 1.0
    request = pb.WatchTrainingJobRequest(name=chosen.name)
    events = list(service.training.WatchTrainingJob(request, timeout=TIMEOUT))
    told = next(each.message for each in events if "cross-validation" in each.message)
    assert all(f"{name} 0." in told for name in ("crop", "pad", "squash"))
    assert f"{fit} is chosen, better than crop" in told
    assert pb.PHASE_CHOOSING_INPUT in {each.progress.phase for each in events}
    fractions = [each.progress.fraction_done for each in events if each.HasField("progress")]
    assert fractions == sorted(fractions)


def test_the_report_shows_what_was_tried(service: RunningService, chosen: pb.TrainingJob) -> None:
    """A row for each fit, the chosen one marked."""
    page = report(service, chosen.name)
    fit = manifest_of(service, chosen).input_spec["fit"]
    assert "Fit of an image to its square: what was tried, the base's own first" in page.texts["caption"]
    assert f"{fit}, chosen" in page.texts["th"]
    assert {"crop", "pad", "squash"} <= {text.removesuffix(", chosen") for text in page.texts["th"]}


def test_of_a_few_rows_nothing_is_tried(service: RunningService, home: Path) -> None:
    """The job prepares no rows and runs no stage but those that a job with the base's own fit has kept."""
    files = {f"{label}/{number}.png": wide(label, 100 + number) for label in COLOURS for number in range(12)}
    service.upload(tar_of(files), "few")
    ended(service, pb.Recipe(linear_probe={"fit": pb.IMAGE_FIT_CROP}), model="few", dataset="few")
    entries = settings_of(home).cache_folder / "arrays" / "entries"
    kept = set(entries.rglob("*.npy"))
    assert kept
    job = ended(service, PROBE, model="few", dataset="few")
    assert set(entries.rglob("*.npy")) == kept
    events = list(service.watch(job.name))
    assert any("too few rows to try others: crop" in each.message for each in events)
    progress = [each.progress for each in events if each.HasField("progress")]
    assert pb.PHASE_CHOOSING_INPUT not in {each.phase for each in progress}
    assert progress[0].fraction_done == 0


def test_an_evaluation_prepares_as_the_job_did(service: RunningService, chosen: pb.TrainingJob) -> None:
    """The figures of the test split are the job's own."""
    request = pb.EvaluateModelVersionRequest(name=chosen.version, dataset="datasets/wide")
    *_, last = service.training.EvaluateModelVersion(request, timeout=TIMEOUT)
    assert last.evaluation.metrics.values["log_loss"] == pytest.approx(chosen.metrics.values["log_loss"], abs=1e-5)


def test_a_fit_that_is_named_is_taken(service: RunningService) -> None:
    """Nothing is tried; the job says what was asked for."""
    job = ended(service, pb.Recipe(linear_probe={"fit": pb.IMAGE_FIT_CROP}), model="cropped")
    assert job.recipe.linear_probe.fit == pb.IMAGE_FIT_CROP
    assert manifest_of(service, job).input_spec == SPEC.to_json()
    assert job.metrics.values["accuracy"] < 1.0
    request = pb.WatchTrainingJobRequest(name=job.name)
    events = list(service.training.WatchTrainingJob(request, timeout=TIMEOUT))
    assert not any("cross-validation" in each.message for each in events)


def test_a_fine_tune_of_a_version_begins_with_its_fit(service: RunningService, chosen: pb.TrainingJob) -> None:
    """Every recipe chooses; the base's own fit stays where no other is better."""
    recipe = pb.Recipe(full={"epoch_count": 1, "batch_size": 8})
    job = ended(service, recipe, base="tuned", model="again")
    lineage = service.store.get_version(parse_version(job.version, "version")).lineage
    fit = manifest_of(service, chosen).input_spec["fit"]
    assert lineage.recipe["input_choice"]["tried"][0]["name"] == fit
    assert lineage.recipe["fit"] == manifest_of(service, job).input_spec["fit"] != "crop"


def test_from_random_weights_nothing_is_tried(service: RunningService) -> None:
    """There is nothing to tell them apart with: the base's own fit stays."""
    job = ended(
        service,
        pb.Recipe(scratch={"epoch_count": 8, "batch_size": 8, "optimizer": {"learning_rate": 0.001}}),
        model="scratch",
    )
    assert manifest_of(service, job).input_spec["fit"] == "crop"


@pytest.mark.parametrize(("base", "fit"), [("numbers", pb.IMAGE_FIT_PAD), ("base", 7)])
def test_what_the_base_cannot_do_is_refused(service: RunningService, base: str, fit: int) -> None:
    """Rows of numbers have no fit, and a number that no fit has is none."""
    recipe = pb.Recipe(full={"fit": fit})
    job = pb.TrainingJob(model="models/none", base=f"models/{base}", recipe=recipe)
    with refused(grpc.StatusCode.INVALID_ARGUMENT, fields=["training_job.recipe.full.fit"]):
        service.training.CreateTrainingJob(pb.CreateTrainingJobRequest(training_job=job, validate_only=True))
