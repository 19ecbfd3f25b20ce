"""A report tells all of a job on one page, which nothing that a user has written can turn into a script."""

from __future__ import annotations

import base64
import io
import shlex
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from maas.model_store.v1 import model_store_pb2
from maas.training.v1 import training_pb2 as pb
from PIL import Image

from model_store.names import parse_job, parse_version
from model_store.records.jobs import ErrorCode, JobError
from model_store.registry.datasets import DatasetStore
from model_store.registry.jobs import JobStore
from tests.training_service.making import photos, publish_base, tar_of
from tests.training_service.reports.pages import HOSTILE, PATH, Page, noise, parse, report
from tests.training_service.running import (
    TIMEOUT,
    RunningService,
    refused,
    running_service,
    settings_of,
)
from training_service.evaluation.evaluator import build_evaluator
from training_service.reports.facts import FactFinder, JobFacts
from training_service.reports.mistakes import MAX_SHOWN
from training_service.reports.page import render

PRODUCTION = "models/flowers/aliases/production"
CROPPED = pb.Recipe(linear_probe={"fit": pb.IMAGE_FIT_CROP})


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the service's store."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def service(home: Path) -> Iterator[RunningService]:
    """A service that trains, with a base, photos of three labels, and noise with hostile labels and paths."""
    with running_service(home, num_concurrent_jobs=1, lease_seconds=5) as running:
        publish_base(running.store)
        running.upload(tar_of(photos(12, ("blue", "green", "red"))))
        running.upload(tar_of(noise()), "hostile")
        yield running


@pytest.fixture(scope="module")
def tuned(service: RunningService) -> pb.TrainingJob:
    """A job of three epochs whose version passes the gate."""
    recipe = pb.Recipe(last_stages={"epoch_count": 3, "batch_size": 8})
    job = service.create(recipe=recipe, seed=7, promote=pb.Promote(alias=PRODUCTION, threshold=0.1, min_rows=9))
    return service.await_end(job.name)


@pytest.fixture(scope="module")
def hostile(service: RunningService) -> pb.TrainingJob:
    """A job on noise: it is wrong more often than a report shows, and the gate refuses its version."""
    promote = pb.Promote(alias="models/noise/aliases/production", metric="macro_f1", threshold=0.9)
    job = service.create(model="models/noise", dataset="datasets/hostile", recipe=CROPPED, promote=promote)
    return service.await_end(job.name)


@pytest.fixture(scope="module")
def tuned_page(service: RunningService, tuned: pb.TrainingJob) -> Page:
    """The report on that job."""
    return report(service, tuned.name)


@pytest.fixture(scope="module")
def hostile_html(service: RunningService, hostile: pb.TrainingJob) -> str:
    """The report on the job on noise, as it is sent."""
    return service.training.GetReport(pb.GetReportRequest(name=hostile.name), timeout=TIMEOUT).html


def facts_of(home: Path, service: RunningService, job: pb.TrainingJob) -> JobFacts:
    """Collect what a report is written from."""
    settings = settings_of(home)
    with closing(settings.open_database()) as database, ThreadPoolExecutor(1) as threads:
        datasets, jobs = DatasetStore(database, service.store.blobs), JobStore(database, lease_seconds=5)
        evaluator = build_evaluator(settings, service.store, datasets, threads)
        return FactFinder(service.store, datasets, jobs, evaluator).find(parse_job(job.name, "name"), lambda: None)


def test_a_report_tells_all_of_a_job(service: RunningService, tuned: pb.TrainingJob, tuned_page: Page) -> None:
    """Figures, curves, gate, confusions, labels, data, every hyperparameter, lineage and events; each once."""
    page = tuned_page
    assert page.texts["h2"] == [
        "Verdict", "Quality", "Promotion", "Learning", "Confusions", "Calibration", "Labels", "Worst mistakes", "Data",
        "Input", "Recipe", "Lineage", "History", "How to reproduce",
    ]  # fmt: skip
    assert len(page.texts["h1"]) == 1
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    assert {link.removeprefix("#") for link in page.values("href")} == set(ids)
    (text,) = page.texts["body"]
    version = service.registry.GetModelVersion(model_store_pb2.GetModelVersionRequest(name=tuned.version))
    for expected in (
        f"{tuned.metrics.values['accuracy']:.3f}",
        f"{tuned.metrics.values['log_loss']:.3f}",
        service.training.GetDataset(pb.GetDatasetRequest(name="datasets/photos")).digest,
        version.manifest_digest,
        version.lineage.base,
        tuned.name,
        "promoted",
        tuned.promotion.reason,
    ):
        assert expected in text
    hyperparameters = dict(zip(page.texts["dt"], page.texts["dd"], strict=True))
    assert (hyperparameters["epoch_count"], hyperparameters["batch_size"]) == ("3 default 20", "8 default 32")
    assert (hyperparameters["seed"], hyperparameters["optimizer"]) == ("7", "adamw")
    assert {"strength", "momentum", "mixup_alpha"} & hyperparameters.keys() == set()
    assert {"learning_rate", "beta1", "kept_epoch"} <= hyperparameters.keys()
    captions = page.texts["figcaption"]
    assert {"Loss, head fit", "Accuracy, head fit", "Loss, training", "Accuracy, training"} <= set(captions)
    kept = int(version.lineage.recipe["kept_epoch"])
    assert (
        f"The version has the weights of epoch {kept}." if kept else "No epoch improved on the linear probe"
    ) in text
    assert [len(points.split()) for points in page.values("points")[-3:]] == [3, 3, 3]


def test_tables_and_pictures_can_be_read_without_eyes(hostile_html: str) -> None:
    """Every column and row has a heading, every table a caption, every picture and chart a text."""
    page = parse(hostile_html)
    assert len(page.texts["caption"]) == len(page.texts["table"])
    assert all(page.texts["caption"])
    assert {scope for tag, name, scope in page.attributes if (tag, name) == ("th", "scope")} == {"col", "row"}
    assert len([1 for tag, name, _ in page.attributes if (tag, name) == ("th", "scope")]) == len(page.texts["th"])
    for tag, text in (("img", "alt"), ("svg", "aria-label")):
        described = [value for element, name, value in page.attributes if (element, name) == (tag, text)]
        assert len(described) == len(page.texts[tag])
        assert all(described)


def test_nothing_that_a_user_wrote_becomes_markup(hostile_html: str) -> None:
    """Labels and paths stand on the page as they were written; `parse` finds what they would like to be."""
    page = parse(hostile_html)
    rows = page.texts["th"]
    kept = [label for label in HOSTILE if label in rows]
    assert len(kept) >= 4
    assert all(rows.count(label) >= 2 for label in kept)  # of the labels' quality, and of the data
    assert "Rejected files" in page.texts["summary"]
    assert "<svg onload=alert(2)>/broken.png" in rows
    assert any(alt.startswith(f"{label}/") and PATH in alt for alt in page.values("alt") for label in kept)


def test_an_error_message_is_text_too(home: Path, service: RunningService, hostile: pb.TrainingJob) -> None:
    """Whatever a library said of somebody's file."""
    facts = facts_of(home, service, hostile)
    error = "cannot read <script>alert(1)</script> & </style>"
    failed = replace(
        facts, job=replace(facts.job, error=JobError(ErrorCode.INTERNAL, error)), evaluated=None, not_evaluated=error
    )
    assert error in parse(render(failed)).texts["header"][0]


def test_the_page_stays_small(hostile_html: str) -> None:
    """The worst mistakes alone are shown, small and encoded anew."""
    page = parse(hostile_html)
    assert "test rows are classified wrongly. These are the 24 with the highest loss" in page.texts["body"][0]
    pictures = page.values("src")
    assert len(pictures) == MAX_SHOWN
    for picture in pictures:
        image = Image.open(io.BytesIO(base64.b64decode(picture.partition(",")[2])))
        assert (image.format, image.size) == ("JPEG", (144, 144))
    assert len(hostile_html) < 400_000


def test_a_refusal_is_told_with_both_figures(service: RunningService, tuned: pb.TrainingJob) -> None:
    """The version that was there, its figure on the same rows, and what was asked for."""
    promote = pb.Promote(alias=PRODUCTION, min_delta=0.5, min_rows=1)
    refused_job = service.await_end(service.create(promote=promote).name)
    assert refused_job.promotion.state == pb.PROMOTION_STATE_REFUSED
    page = report(service, refused_job.name)
    text = page.texts["body"][0]
    opening = f"Too few rows to compare with {tuned.version}, which {PRODUCTION} names: accuracy"
    assert opening in " ".join(page.texts["section"][0].split())
    assert refused_job.promotion.reason in text
    assert "accuracy better by at least 0.5, compared with the version behind the alias" in text
    assert f"{tuned.version}, behind the alias{refused_job.promotion.incumbent_figure:.4f}" in text
    assert f"{refused_job.version}, the new one{refused_job.promotion.figure:.4f}" in text


def test_the_command_on_the_page_does_the_same_again(
    home: Path, service: RunningService, tuned: pb.TrainingJob, tuned_page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Typed as it stands there it makes a version of the same content."""
    from maas_client.__main__ import app  # noqa: PLC0415  the client's start, which no other test here needs

    (command,) = tuned_page.texts["pre"]
    program, *arguments = shlex.split(command)
    assert program == "maas"
    monkeypatch.setenv("MAAS_TRAINING_ADDRESS", (home / "address").read_text())
    app(arguments, standalone_mode=False)
    request = model_store_pb2.ListModelVersionsRequest(parent=tuned.model, page_size=1)
    (again,) = service.registry.ListModelVersions(request, timeout=TIMEOUT).model_versions
    assert again.name != tuned.version
    first = service.store.get_version(parse_version(tuned.version, "version"))
    assert again.manifest_digest == first.manifest_digest


def test_a_job_that_has_made_nothing_yet_has_a_report(tmp_path: Path) -> None:
    """It says so; and a job that does not exist is NOT_FOUND."""
    with running_service(tmp_path, num_concurrent_jobs=0) as service:
        publish_base(service.store)
        service.upload(tar_of(photos()))
        job = service.create(promote=pb.Promote(alias=PRODUCTION, threshold=0.5))
        page = report(service, job.name)
        text = page.texts["body"][0]
        assert "queued" in page.texts["h1"][0]
        assert "The job has registered no version." in text
        asked = (
            "accuracy no worse beyond noise, and by at most half a point within it, compared with the version behind "
            "the alias, and no worse than 0.5"
        )
        assert asked in text
        assert "Learning" not in page.texts["h2"]
        unknown = f"trainingJobs/{'0' * 32}"
        with refused(grpc.StatusCode.NOT_FOUND, unknown):
            service.training.GetReport(pb.GetReportRequest(name=unknown))
        with refused(grpc.StatusCode.INVALID_ARGUMENT, fields=["name"]):
            service.training.GetReport(pb.GetReportRequest(name="jobs/none"))


def test_what_cannot_be_measured_any_more_is_said(home: Path, service: RunningService) -> None:
    """A report outlives its version: what was measured when it was made stays, and the reason stands beside it."""
    recipe = pb.Recipe(last_stages={"epoch_count": 1})
    job = service.await_end(service.create(model="models/damaged", recipe=recipe, seed=3).name)
    head = service.store.get_version(parse_version(job.version, "version")).stages[-1].digest
    (blob,) = (path for path in (home / "blobs").rglob(head) if path.is_file())
    blob.unlink()
    page = report(service, job.name)
    assert "The version cannot be evaluated any more" in page.texts["section"][0]
    assert f"{job.metrics.values['macro_f1']:.3f}" in page.texts["section"][0]
    assert {"Calibration", "Worst mistakes"} & set(page.texts["h2"]) == set()
    assert {"Confusions", "Labels", "Lineage"} <= set(page.texts["h2"])


def test_a_report_outlives_its_dataset(service: RunningService, hostile: pb.TrainingJob) -> None:
    """A deleted one is evaluated on no more, and all that was known is still told; what comes back is whole again."""
    name = "datasets/hostile"
    service.training.DeleteDataset(pb.DeleteDatasetRequest(name=name), timeout=TIMEOUT)
    try:
        page = report(service, hostile.name)
        with refused(grpc.StatusCode.FAILED_PRECONDITION, f"{name} was deleted: undelete it first"):
            list(
                service.training.EvaluateModelVersion(
                    pb.EvaluateModelVersionRequest(name=hostile.version, dataset=name)
                )
            )
    finally:
        service.training.UndeleteDataset(pb.UndeleteDatasetRequest(name=name), timeout=TIMEOUT)
    assert f"The version cannot be evaluated any more: {name}" in page.texts["section"][0]
    assert {"Confusions", "Data", "How to reproduce"} <= set(page.texts["h2"])
    assert not page.values("src")
    assert report(service, hostile.name).values("src")
