"""No version is judged by rows that it learned from: neither by the gate, nor by an evaluation without a word."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from maas.model_store.v1 import model_store_pb2
from maas.training.v1 import training_pb2 as pb

from tests.training_service.making import photos, picture, publish_base, tar_of
from tests.training_service.running import TIMEOUT, RunningService, refused, running_service, split_of

LABELS = ("blue", "green", "red")
FILES = photos(20, LABELS)
PRODUCTION = "models/flowers/aliases/production"
PROBE = pb.Recipe(linear_probe={"fit": pb.IMAGE_FIT_CROP})


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the service's store."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def service(home: Path) -> Iterator[RunningService]:
    """A service that measures test rows alone, with one set of photos in two splits, `first` and `second`."""
    with running_service(home) as running:
        publish_base(running.store)
        for seed, name in enumerate(("first", "second")):
            running.upload(tar_of(FILES), name, pb.SplitSpec(seed=seed))
        yield running


@pytest.fixture(scope="module")
def served(service: RunningService) -> pb.TrainingJob:
    """The job whose version, a probe of `first`, is behind the alias."""
    job = train(service, "first", promote=pb.Promote(alias=PRODUCTION))
    assert job.promotion.state == pb.PROMOTION_STATE_PROMOTED
    assert (job.promotion.row_count, job.promotion.left_out_row_count) == (15, 0)
    return job


def train(service: RunningService, dataset: str, **asked: object) -> pb.TrainingJob:
    """Fine-tune on a dataset, by a probe where no recipe is asked for, and return the ended job."""
    asked = {"dataset": f"datasets/{dataset}", "recipe": PROBE, **asked}
    job = service.await_end(service.create(**asked).name)
    assert job.state == pb.TRAINING_JOB_STATE_SUCCEEDED, job.error
    return job


def learned(service: RunningService, dataset: str) -> set[str]:
    """Return the digests of the training and validation rows of a dataset."""
    return {row.sha256 for row in service.rows(dataset).values() if split_of(row) != "test"}


def held_out_rows(service: RunningService, dataset: str) -> set[str]:
    """Return the digests of its test rows."""
    return {row.sha256 for row in service.rows(dataset).values()} - learned(service, dataset)


def evaluated(service: RunningService, version: str, dataset: str, **asked: object) -> pb.Evaluation:
    """Evaluate a version on a dataset."""
    request = pb.EvaluateModelVersionRequest(name=version, dataset=f"datasets/{dataset}", **asked)  # type: ignore[arg-type]
    return list(service.training.EvaluateModelVersion(request, timeout=TIMEOUT))[-1].evaluation


def test_the_gate_compares_on_rows_that_neither_learned_from(service: RunningService, served: pb.TrainingJob) -> None:
    """On another split of the same photos most test rows are the other version's training rows: they are left out."""
    left = held_out_rows(service, "second") - learned(service, "first")
    assert 0 < len(left) < len(held_out_rows(service, "second")) / 2
    job = train(service, "second", promote=pb.Promote(alias=PRODUCTION, min_delta=2.0, min_rows=1))
    promotion = job.promotion
    assert promotion.state == pb.PROMOTION_STATE_REFUSED
    assert (promotion.row_count, promotion.left_out_row_count) == (len(left), 15 - len(left))
    held_out = evaluated(service, served.version, "second", held_out=True)
    assert held_out.metrics.row_count == len(left)
    assert promotion.incumbent_figure == pytest.approx(held_out.metrics.values["accuracy"])
    assert f"on {len(left)} test rows; {15 - len(left)} more are left out, as {served.version} or" in promotion.reason
    history = service.registry.ListAliasHistory(model_store_pb2.ListAliasHistoryRequest(parent=PRODUCTION)).moves
    assert (history[0].refused, history[0].reason) == (True, promotion.reason)
    page = service.training.GetReport(pb.GetReportRequest(name=job.name), timeout=TIMEOUT).html
    assert f"{15 - len(left)} test rows that one of the versions learned from" in page


@pytest.mark.usefixtures("served")
def test_too_few_rows_are_not_judged(service: RunningService, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal names what to do, though the figure alone would pass; the command has an exit code of its own."""
    from maas_client.__main__ import app  # noqa: PLC0415  the client's start, which few tests here need

    monkeypatch.setenv("MAAS_TRAINING_ADDRESS", (home / "address").read_text())
    command = (
        "finetune datasets/second --base base --model flowers --recipe linear_probe --fit crop --min-delta -1 --promote"
    )
    assert app([*command.split(), "production"], standalone_mode=False) == 3
    (job, *_) = service.training.ListTrainingJobs(pb.ListTrainingJobsRequest()).training_jobs
    assert job.promotion.state == pb.PROMOTION_STATE_REFUSED
    assert job.promotion.row_count < 20
    assert "at least 20 are asked for (min_rows): fine-tune on the dataset of models/flowers/versions/" in (
        job.promotion.reason
    )


@pytest.mark.usefixtures("served")
def test_an_appended_dataset_keeps_its_test_rows(service: RunningService) -> None:
    """Nothing is left out where the new version was trained on what the served one was trained on, and on more."""
    more = {f"{label}/more-{seed}.png": picture(label, 100 + seed) for label in LABELS for seed in range(4)}
    service.upload(tar_of(more), "appended", parent="datasets/first")
    job = train(service, "appended", promote=pb.Promote(alias=PRODUCTION, min_rows=15, min_delta=-1.0))
    assert (job.promotion.state, job.promotion.left_out_row_count) == (pb.PROMOTION_STATE_PROMOTED, 0)


def test_a_fine_tune_of_a_fine_tune_learned_from_both(service: RunningService, served: pb.TrainingJob) -> None:
    """The job says what its base learned from, and its version is measured on what is left of both."""
    job = train(service, "second", base=served.version, model="models/twice")
    known = held_out_rows(service, "second") & learned(service, "first")
    assert f"{served.version} or a base of it learned from {len(known)} of the 15 test rows" in "".join(job.remarks)
    found = evaluated(service, job.version, "second")
    assert found.learned_row_count == len(known)
    assert f"{len(known)} of these 15 rows" in found.warning
    every = evaluated(service, job.version, "first", split=pb.SPLIT_ALL, held_out=True)
    left = held_out_rows(service, "first") & held_out_rows(service, "second")
    assert (every.metrics.row_count, every.left_out_row_count, every.learned_row_count) == (
        len(left),
        60 - len(left),
        0,
    )
    alone = train(service, "second", base=served.version, model="models/alone", recipe=scratch())
    assert not alone.remarks
    assert evaluated(service, alone.version, "second").learned_row_count == 0


def scratch() -> pb.Recipe:
    """Return a short recipe that takes nothing but the architecture from its base."""
    return pb.Recipe(scratch={"epoch_count": 2, "batch_size": 8, "optimizer": {"learning_rate": 0.001}})


def test_an_evaluation_warns_of_rows_that_were_learned_from(service: RunningService, served: pb.TrainingJob) -> None:
    """With their number and share; a probe was trained on the validation rows, too."""
    clean = evaluated(service, served.version, "first")
    assert (clean.learned_row_count, clean.warning) == (0, "")
    validation = evaluated(service, served.version, "first", split=pb.SPLIT_VALIDATION)
    assert validation.learned_row_count == validation.metrics.row_count == 9
    assert "was trained on all 9 of these rows (its head was fitted again on training and validation rows" in (
        validation.warning
    )
    every = evaluated(service, served.version, "first", split=pb.SPLIT_ALL)
    assert every.learned_row_count == 45
    assert "45 of these 60 rows, 75%" in every.warning
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "did not learn from", fields=["split"]):
        evaluated(service, served.version, "first", split=pb.SPLIT_TRAIN, held_out=True)


def test_the_command_shows_no_accuracy_of_rows_that_were_learned_from(
    served: pb.TrainingJob, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says how many of them the version remembers, and that this is something else."""
    from maas_client.__main__ import app  # noqa: PLC0415  the client's start, which few tests here need

    monkeypatch.setenv("MAAS_TRAINING_ADDRESS", (home / "address").read_text())
    version = served.version.removeprefix("models/").replace("/versions/", "/")
    app(["evaluate", version, "--split", "validation"], standalone_mode=False)
    printed = capsys.readouterr()
    assert "was trained on all 9 of these rows" in printed.err
    assert "remembers these rows with accuracy 1.000: that says nothing of other rows" in printed.out
    assert "1.000 to" not in printed.out
    assert "precision" not in printed.out


def test_images_encoded_anew_are_learned_from(service: RunningService, served: pb.TrainingJob) -> None:
    """Their digests are others, and their looks are the same."""
    again = {path: picture(path.split("/")[0], int(path.split("/")[1][:-4]), "JPEG") for path in FILES}
    service.upload(tar_of(again), "again")
    found = evaluated(service, served.version, "again", split=pb.SPLIT_ALL)
    assert 40 <= found.learned_row_count <= 45, "JPEG changes a grey level of a look here and there"


def test_what_is_not_known_any_more_is_said(service: RunningService) -> None:
    """The manifest of a version's dataset is gone: nobody can tell which rows it learned from."""
    service.upload(tar_of(FILES), "gone", pb.SplitSpec(seed=5))
    job = train(service, "gone", model="models/orphan")
    store = service.store
    digest = service.training.GetDataset(pb.GetDatasetRequest(name="datasets/gone")).digest
    store.blobs.path(digest).unlink()
    found = evaluated(service, job.version, "second")
    assert "which rows it learned from in datasets/gone is not known any more" in found.warning
