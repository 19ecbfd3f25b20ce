"""`maas finetune`, up to the queue: what is refused is refused before the upload, and equal data is one dataset."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from maas.training.v1 import training_pb2 as pb

from tests.maas_client.running import Maas
from tests.training_service.datasets.files.test_sources import write
from tests.training_service.making import photos, publish_base, publish_mlp, zip_of
from tests.training_service.running import RunningService, running_service


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningService]:
    """A service with a base that queues jobs and runs none; the current folder is one of the user's."""
    (tmp_path / "user").mkdir()
    monkeypatch.chdir(tmp_path / "user")
    with running_service(tmp_path / "home", num_concurrent_jobs=0) as running:
        monkeypatch.setenv("MAAS_TRAINING_ADDRESS", (tmp_path / "home/address").read_text())
        publish_base(running.store)
        publish_mlp(running.store, "numbers")
        yield running


def datasets(service: RunningService) -> list[str]:
    """Return the names of all datasets."""
    return [each.name for each in service.training.ListDatasets(pb.ListDatasetsRequest()).datasets]


def jobs(service: RunningService) -> list[pb.TrainingJob]:
    """Return all jobs, the newest first."""
    return list(service.training.ListTrainingJobs(pb.ListTrainingJobsRequest()).training_jobs)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--model", "Rosen!"], "training_job.model"),
        (["--base", "none"], "models/none does not exist"),
        (["--base", "numbers"], "numbers takes examples of the modality values, and the data is image"),
        (["--base", "base/7"], "models/base/versions/7 does not exist"),
        (["--alias", "No!"], "training_job.alias"),
        (["--promote", "live", "--metric", "none"], "no task has a metric 'none'"),
        (["--promote", "live", "--metric", "r2", "--task", "multi_label"], "multi_label has no metric 'r2'"),
        (["--recipe", "none"], "there is no recipe 'none'"),
        (["--recipe", "linear_probe", "--epochs", "3"], "linear_probe has no field 'epoch_count'"),
        (["--recipe", "last_stages", "--num-stages", "99"], "training_job.recipe.last_stages.stage_count"),
        (["--learning-rate", "1"], "learning_rate is a field of last_stages"),
        (["--recipe", "full", "--learning-rate", "-1"], "training_job.recipe.full.optimizer.learning_rate"),
        (["--priority", "9999"], "training_job.priority"),
        (["--max-failures", "0"], "training_job.max_failures"),
    ],
)
def test_a_bad_option_is_refused_before_the_upload(
    service: RunningService, command: Maas, options: list[str], text: str
) -> None:
    """No dataset is left behind."""
    write(Path("shapes"), photos(4))
    code, _, err = command("finetune", "shapes", "--detach", *options)
    assert (code, text in err) == (4 if "does not exist" in text else 2, True), err
    assert datasets(service) == []


def test_equal_data_is_uploaded_into_one_dataset(service: RunningService, command: Maas) -> None:
    """As of an artifact that has not changed; an id that was given is the user's wish."""
    write(Path("shapes"), photos(4))
    for _ in range(2):
        code, _, err = command("finetune", "shapes", "--detach")
        assert code == 0, err
    (name,) = datasets(service)
    assert f"{name} has just this content already: it is used" in err
    assert {job.dataset for job in jobs(service)} == {name}
    code, _, err = command("finetune", "shapes", "--detach", "--dataset-id", "mine")
    assert (code, f"note: {name} has the same content" in err) == (0, True)
    assert datasets(service) == ["datasets/mine", name]


def test_a_name_that_makes_no_id_is_asked_for(service: RunningService, command: Maas) -> None:
    """Two folders of other letters are not two versions of one model."""
    write(Path("花"), photos(4))
    code, _, err = command("finetune", "花", "--detach")
    assert (code, "no id can be made of the name '花': choose one with --model" in err) == (2, True)
    code, _, err = command("datasets", "upload", "花")
    assert (code, "choose one with --id" in err) == (2, True)
    assert datasets(service) == []
    assert command("finetune", "花", "--detach", "--model", "hana")[0] == 0
    (job,) = jobs(service)
    assert job.model == "models/hana"
    assert job.dataset.startswith("datasets/hana-")


def test_a_folder_that_has_the_name_of_a_dataset_can_be_meant(service: RunningService, command: Maas) -> None:
    """The error says how to write it, and it works."""
    write(Path("datasets/shapes"), photos(4))
    code, _, err = command("finetune", "datasets/shapes", "--detach")
    assert (code, "to upload the folder or file of that name write ./datasets/shapes" in err) == (4, True)
    assert command("finetune", "./datasets/shapes", "--detach")[0] == 0
    assert jobs(service)[0].model == "models/shapes"
    code, _, err = command("finetune", "datasets/none", "--detach")
    assert (code, "datasets/none does not exist" in err, "./" in err) == (4, True, False)


def test_what_is_not_uploaded_is_listed_though_the_upload_is_refused(service: RunningService, command: Maas) -> None:
    """By the client what it cannot read, by the service what it cannot use."""
    write(Path("shapes"), photos(4, ("red",)) | {".NET/1.png": b"x", "blue/1.png": b"text"})
    Path("shapes/green").symlink_to("nowhere")
    code, _, err = command("finetune", "shapes", "--detach")
    assert code == 2
    for text in (
        "not uploaded: green: it is a link that leads nowhere",
        "found red (4)",
        "left out: .NET: hidden: its name begins with a dot",
        "left out: blue/1.png: not an image",
    ):
        assert text in err
    assert datasets(service) == []


def test_the_encoding_of_names_can_be_said(service: RunningService, command: Maas) -> None:
    """Where the service asks for it."""
    archive = zip_of(photos(4, ("blue",)) | {f"########/{path}": data for path, data in photos(4, ("red",)).items()})
    Path("shapes.zip").write_bytes(archive.replace(b"########", "花花花花".encode("gbk")))
    code, _, err = command("finetune", "shapes.zip", "--detach")
    assert (code, "is it '花花花花' (gbk) or" in err, "--encoding" in err) == (2, True, True)
    assert command("finetune", "shapes.zip", "--detach", "--encoding", "gbk")[0] == 0
    code, out, _ = command("datasets", "show", datasets(service)[0])
    assert (code, "花花花花" in out) == (0, True)


def test_an_archive_that_cannot_be_read_is_named(
    service: RunningService, command: Maas, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk's own word reaches the user, and no dataset is made of the first half."""
    Path("shapes.zip").write_bytes(zip_of(photos(4)))
    opened = Path.open

    def failing(path: Path, *arguments: Any, **more: Any) -> Any:
        if path.name == "shapes.zip":
            raise OSError(5, "Input/output error", str(path))
        return opened(path, *arguments, **more)

    monkeypatch.setattr(Path, "open", failing)
    code, _, err = command("finetune", "shapes.zip", "--detach")
    assert (code, "Input/output error: 'shapes.zip'" in err, "iterating" in err) == (1, True, False)
    assert datasets(service) == []


def test_an_empty_file_is_called_so(service: RunningService, command: Maas) -> None:
    """A table is no folder that lacks sub-folders."""
    Path("empty.csv").touch()
    code, _, err = command("datasets", "upload", "empty.csv", "--id", "empty")
    assert (code, err) == (2, "error empty.csv is empty\n")
    Path("folder").mkdir()
    assert "folder holds no files: it needs one sub-folder for each label" in command("finetune", "folder")[2]
    assert datasets(service) == []


def test_the_service_says_what_needs_no_base(service: RunningService, command: Maas) -> None:
    """A base that is in the store is not taken for a table; for recordings with a named recipe alone there is none."""
    Path("boxes.csv").write_text("a,b,kind\n" + "".join(f"{n},{n % 7},{'xy'[n % 2]}\n" for n in range(30)))
    code, _, err = command("finetune", "boxes.csv", "--detach")
    assert code == 0, err
    assert jobs(service)[0].base.startswith("models/rows-")
    write(Path("sounds"), {"hum/1.wav": b"", "hiss/1.wav": b""})
    code, _, err = command("finetune", "sounds", "--detach")
    assert (code, "there is no model to start from, for the modality audio" in err) == (1, True)


def test_the_service_is_asked_to_choose_the_base(service: RunningService, command: Maas) -> None:
    """`auto` is no model: nothing is looked up before the job has compared what there is."""
    write(Path("photos"), photos(6))
    code, _, err = command("finetune", "photos", "--base", "auto", "--detach")
    assert code == 0, err
    queued = jobs(service)[0]
    assert (queued.base, queued.HasField("recommendation")) == ("auto", False)


def test_a_search_is_queued_and_listed_as_one_job(service: RunningService, command: Maas) -> None:
    """A file with a space; `maas jobs` says that it is a search, and shows its trials once there are some."""
    Path("boxes.csv").write_text("a,b,c,d,kind\n" + "".join(f"{n},{n % 7},1,2,{'xy'[n % 2]}\n" for n in range(30)))
    Path("space.json").write_text('{"recipes": {"full": {"learning_rate": {"low": 1e-4, "high": 0.1, "log": true}}}}')
    options = ("--base", "numbers", "--modality", "values", "--time-limit", "10m", "--detach")
    code, _, err = command("finetune", "boxes.csv", "--search", "space.json", *options)
    assert code == 0, err
    (job,) = jobs(service)
    assert job.search.time_limit.seconds == 600
    assert job.recipe.full.optimizer.learning_rate == pytest.approx(1e-3)
    assert "search" in command("jobs")[1]
    assert "no trial has begun yet" in command("jobs", "show", "latest")[1]
    code, _, err = command("finetune", "boxes.csv", "--time-limit", "10m")
    assert "name its file with --search" in err
