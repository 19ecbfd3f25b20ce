"""Multi-label and regression, from a folder of images to a version, its evaluation, its report and the gate."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import numpy as np
import pytest
from maas.model_store.v1 import model_store_pb2
from maas.training.v1 import training_pb2 as pb

from model_store.manifests import Manifest
from model_store.names import parse_version
from model_store.tasks import MultiLabel, Regression
from tests.training_service.making import picture, publish_base, tar_of
from tests.training_service.running import TIMEOUT, RunningService, refused, running_service

NUM_IMAGES = 48
COLOURS = ("red", "green", "blue")
NAMES = [f"{number:03}-{COLOURS[number % 3]}.png" for number in range(NUM_IMAGES)]
IMAGES = {name: picture(name[4:-4], number) for number, name in enumerate(NAMES)}
PROBE = pb.Recipe(linear_probe={"fit": pb.IMAGE_FIT_CROP})
FULL = pb.Recipe(full={"epoch_count": 3, "batch_size": 8, "fit": pb.IMAGE_FIT_CROP})
RECIPES = {"linear_probe": PROBE, "full": FULL}
PRICES = {"red": 1000.0, "green": 2000.0, "blue": 4000.0}


def table(columns: str, *rows: str) -> bytes:
    """Return a CSV file."""
    return "\n".join([columns, *rows]).encode()


LABELS = table("file,warm,not green", *(f"{name},{int('red' in name)},{int('green' not in name)}" for name in NAMES))
TARGETS = table("file,price,age", *(f"{name},{PRICES[name[4:-4]]},{len(name[4:-4])}" for name in NAMES))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service with a base, and a dataset of each task."""
    with running_service(tmp_path_factory.mktemp("home"), num_concurrent_jobs=1, lease_seconds=30) as running:
        publish_base(running.store)
        running.upload(tar_of(IMAGES | {"labels.csv": LABELS}), "labels")
        running.upload(tar_of(IMAGES | {"targets.csv": TARGETS}), "targets")
        running.upload(tar_of({f"{name[4:-4]}/{name}": data for name, data in IMAGES.items()}), "photos")
        yield running


def trained(service: RunningService, dataset: str, recipe: pb.Recipe, **job: object) -> pb.TrainingJob:
    """Run a job to its end."""
    job = {"model": f"models/{dataset}", "dataset": f"datasets/{dataset}", "recipe": recipe, **job}
    ended = service.await_end(service.create(**job).name)
    assert ended.state == pb.TRAINING_JOB_STATE_SUCCEEDED, ended.error
    return ended


def manifest_of(service: RunningService, job: pb.TrainingJob) -> Manifest:
    """Return the manifest of a job's version."""
    return service.store.manifest(service.store.get_version(parse_version(job.version, "version")))


def evaluated(service: RunningService, version: str, dataset: str, **asked: object) -> pb.Evaluation:
    """Evaluate a version on a dataset."""
    request = pb.EvaluateModelVersionRequest(name=version, dataset=f"datasets/{dataset}", **asked)  # type: ignore[arg-type]
    *_, last = service.training.EvaluateModelVersion(request, timeout=TIMEOUT)
    return last.evaluation


def report(service: RunningService, job: pb.TrainingJob) -> str:
    """Return the page about a job."""
    return service.training.GetReport(pb.GetReportRequest(name=job.name), timeout=TIMEOUT).html


@pytest.fixture(scope="module")
def jobs(service: RunningService) -> dict[tuple[str, str], pb.TrainingJob]:
    """Jobs that have ended, by dataset and recipe."""
    return {
        (dataset, name): trained(service, dataset, recipe)
        for dataset in ("labels", "targets")
        for name, recipe in RECIPES.items()
    }


@pytest.fixture(scope="module", params=RECIPES)
def multi_label(request: pytest.FixtureRequest, jobs: dict[tuple[str, str], pb.TrainingJob]) -> pb.TrainingJob:
    """A job on images with two labels."""
    return jobs["labels", request.param]


@pytest.fixture(scope="module", params=RECIPES)
def regression(request: pytest.FixtureRequest, jobs: dict[tuple[str, str], pb.TrainingJob]) -> pb.TrainingJob:
    """A job on images with two targets of different sizes."""
    return jobs["targets", request.param]


def test_several_labels_are_learned(service: RunningService, multi_label: pb.TrainingJob) -> None:
    """The version has the dataset's task, whichever the base has, and its metrics are those of the task."""
    manifest = manifest_of(service, multi_label)
    assert isinstance(manifest.task, MultiLabel)
    assert (manifest.names, manifest.head["activation"]) == (("warm", "not green"), "sigmoid")
    metrics = multi_label.metrics
    assert metrics.WhichOneof("detail") == "multi_label"
    assert metrics.values["macro_f1"] > 0.9
    assert metrics.intervals["macro_f1"].low <= metrics.values["macro_f1"] <= metrics.intervals["macro_f1"].high
    assert [each.label for each in metrics.multi_label.labels] == ["warm", "not green"]
    assert metrics.multi_label.temperature == pytest.approx(manifest.task.temperature)


def test_numbers_are_learned_in_their_own_units(service: RunningService, regression: pb.TrainingJob) -> None:
    """Targets are scaled to train on, and the version answers as if they had not been."""
    manifest = manifest_of(service, regression)
    assert manifest.task == Regression(("price", "age"))
    assert manifest.head["activation"] == "identity"
    price, age = regression.metrics.regression.targets
    assert (price.target, age.target) == ("price", "age")
    assert price.r2 > 0.8
    assert 0 < price.mae < 500
    assert 0 < age.mae < 0.5
    assert regression.metrics.values["r2"] == pytest.approx(np.mean([price.r2, age.r2]))


def test_progress_names_the_metric_of_the_task(service: RunningService, regression: pb.TrainingJob) -> None:
    """Each fit of the head and each epoch ends with it."""
    told = [event.progress for event in service.watch(regression.name)]
    measured = [each for each in told if each.HasField("validation_metric")]
    assert {each.metric_name for each in measured} == {"r2"}
    assert not any(each.metric_name for each in told if each not in measured)
    messages = [event.message for event in service.watch(regression.name) if event.message]
    assert any("is best: validation r2" in each for each in messages)


def test_a_report_calls_the_metric_by_its_title(
    service: RunningService, jobs: dict[tuple[str, str], pb.TrainingJob]
) -> None:
    """Above its chart and in the table of epochs, as everywhere else on the page."""
    page = report(service, jobs["labels", "full"])
    assert "<figcaption>Macro F1, training</figcaption>" in page
    assert "Validation Macro F1" in page
    assert "macro_f1," not in page.lower()


def test_an_evaluation_finds_what_the_job_measured(
    service: RunningService, jobs: dict[tuple[str, str], pb.TrainingJob]
) -> None:
    """The same rows, the stages as they are stored, and the calibration of the manifest."""
    for kind, job in (("multi_label", jobs["labels", "linear_probe"]), ("regression", jobs["targets", "full"])):
        found = evaluated(service, job.version, job.dataset.removeprefix("datasets/"))
        assert dict(found.metrics.values) == pytest.approx(dict(job.metrics.values), rel=1e-3, abs=1e-5)
        assert found.metrics.WhichOneof("detail") == kind
        with refused(grpc.StatusCode.INVALID_ARGUMENT, f"classification, and the version's task is {kind}"):
            evaluated(service, job.version, "photos")


def test_reports_have_the_sections_of_the_task(
    service: RunningService, jobs: dict[tuple[str, str], pb.TrainingJob]
) -> None:
    """Labels and their calibration, and predicted beside true values."""
    page = report(service, jobs["labels", "full"])
    for text in ("Macro F1", "Average precision", "not green", "labels of rows by confidence", "validation macro_f1"):
        assert text.lower() in page.lower(), text
    page = report(service, jobs["targets", "linear_probe"])
    for text in ("Predicted price by true price", "Residuals of age", "90 % of residuals", "largest errors", "RMSE"):
        assert text in page, text
    assert "Confusions" not in page


def test_a_gate_goes_by_the_metrics_of_the_datasets_task(service: RunningService) -> None:
    """Its own metric where none is named; one of another task is refused, naming those that there are."""
    alias = "models/targets/aliases/production"
    asked = {"model": "models/targets", "dataset": "datasets/targets", "recipe": PROBE}
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "r2, rmse, mae", fields=["training_job.promote.metric"]):
        service.create(**asked, promote=pb.Promote(alias=alias, metric="accuracy"))
    balanced = pb.Recipe(linear_probe={"class_weights": pb.CLASS_WEIGHTS_BALANCED})
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "without classes"):
        service.create(**(asked | {"recipe": balanced}))
    job = trained(service, "targets", PROBE, promote=pb.Promote(alias=alias, threshold=0.5, min_rows=5))
    assert job.promote.metric == "r2"
    assert job.promotion.figure == pytest.approx(job.metrics.values["r2"])
    worse = pb.Promote(alias=alias, metric="rmse", threshold=1.0, min_rows=5)
    refused_job = trained(service, "targets", PROBE, seed=1, promote=worse)
    assert refused_job.promotion.state == pb.PROMOTION_STATE_REFUSED
    assert "at most 1 was asked for" in refused_job.promotion.reason


def test_an_incumbent_of_another_task_is_an_obstacle(service: RunningService) -> None:
    """Nothing can be compared; the reason names both tasks."""
    alias = "models/mixed/aliases/production"
    trained(service, "photos", PROBE, model="models/mixed", alias=alias)
    promote = pb.Promote(alias=alias, min_rows=1)
    job = trained(service, "targets", PROBE, model="models/mixed", promote=promote)
    assert job.promotion.state == pb.PROMOTION_STATE_REFUSED
    assert "regression, and the version's task is classification" in job.promotion.reason


def test_listings_filter_and_sort_by_the_metrics_of_any_task(
    service: RunningService, jobs: dict[tuple[str, str], pb.TrainingJob]
) -> None:
    """Errors and shares alike."""
    request = model_store_pb2.ListModelVersionsRequest(
        parent="models/targets", filter="metrics.r2 > 0.5", order_by="metrics.rmse"
    )
    found = service.registry.ListModelVersions(request, timeout=TIMEOUT).model_versions
    errors = [version.metric_values["rmse"] for version in found]
    assert jobs["targets", "linear_probe"].version in [version.name for version in found]
    assert errors == sorted(errors)


def test_a_version_of_one_task_is_a_base_for_another(
    service: RunningService, jobs: dict[tuple[str, str], pb.TrainingJob]
) -> None:
    """Its backbone is kept, and the head is new."""
    regression = jobs["targets", "linear_probe"]
    job = trained(service, "labels", PROBE, model="models/further", base=regression.version)
    assert job.metrics.WhichOneof("detail") == "multi_label"
    stages = [{stage.name: stage.digest for stage in manifest_of(service, each).stages} for each in (regression, job)]
    assert {name for name in stages[0] if stages[0][name] != stages[1][name]} == {"head"}
