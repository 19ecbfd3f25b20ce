"""`maas evaluate`, `maas recommend` and `maas report`, as a person types them and reads them, on a real service."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from maas.training.v1 import training_pb2 as pb

from maas_client.__main__ import main
from tests.maas_client.desktop import Desktop
from tests.training_service.making import photos, publish_base, tar_of
from tests.training_service.running import RunningService, running_service

Maas = Callable[..., tuple[int, str, str]]


@dataclass(frozen=True)
class Trained:
    """A service, where it listens, and the job of `models/flowers/versions/1`."""

    service: RunningService
    address: str
    job: pb.TrainingJob


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    """A probe of photos of three labels; beside it, photos of which the probe knows half."""
    home = tmp_path_factory.mktemp("home")
    with running_service(home, num_concurrent_jobs=1, upkeep_seconds=0) as service:
        publish_base(service.store)
        service.upload(tar_of(photos(10, ("blue", "green", "red"))))
        others = photos(6, ("green", "red"))
        service.upload(tar_of({path.replace("red", "[b]purple"): data for path, data in others.items()}), "others")
        yield Trained(service, (home / "address").read_text(), service.await_end(service.create().name))


@pytest.fixture
def maas(trained: Trained, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Maas:
    """Run a command; return its exit code, standard output and standard error."""
    monkeypatch.setenv("MAAS_TRAINING_ADDRESS", trained.address)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["maas", *arguments])
        with pytest.raises(SystemExit) as exited:
            main()
        printed = capsys.readouterr()
        return int(exited.value.code or 0), printed.out, printed.err

    return run


def test_a_version_is_evaluated_on_its_own_dataset_or_another(maas: Maas) -> None:
    """A table of labels and a line that sums it up; or JSON, with nothing else on standard output."""
    code, out, _ = maas("evaluate", "flowers/1")
    assert code == 0
    assert "flowers/1 on datasets/photos, test: 9 examples\n" in out
    assert "accuracy 1.000 (1.000 to 1.000)" in out
    code, out, _ = maas("evaluate", "flowers", "--dataset", "photos", "--split", "all", "--json")
    found = json.loads(out)
    assert (code, found["version"], found["metrics"]["split"]) == (0, "models/flowers/versions/1", "all")
    assert found["metrics"]["row_count"] == "30"


def test_a_version_is_shown_with_what_its_recipe_used(maas: Maas) -> None:
    """A linear probe has no batches and no learning rate."""
    _, out, _ = maas("show", "flowers/1")
    recipe = next(line for line in out.splitlines() if line.startswith("recipe "))
    assert recipe.split()[1] == "linear_probe"
    assert {word.partition("=")[0] for word in recipe.split()[2:]} <= {
        "augmentation",
        "fit",
        "strength",
        "refitted_on_validation_rows",
    }


def test_labels_that_a_version_lacks_are_named(maas: Maas) -> None:
    """They are refused, or counted as wrong; what somebody wrote is no markup."""
    code, _, err = maas("evaluate", "flowers/1", "--dataset", "others", "--split", "all")
    assert (code, "lacks, '[b]purple'" in err) == (2, True)
    code, out, _ = maas("evaluate", "flowers/1", "--dataset", "others", "--split", "all", "--allow-unknown-labels")
    assert code == 0
    assert "accuracy 0.500" in out
    assert "the version lacks: [b]purple; their examples count as wrong" in out


def test_what_cannot_be_evaluated_is_explained(maas: Maas) -> None:
    """What is wrong, and what to do."""
    code, _, err = maas("evaluate", "base")
    assert (code, "models/base/versions/1 was not trained on a dataset here: name one with --dataset" in err) == (
        2,
        True,
    )
    code, _, err = maas("evaluate", "flowers", "--split", "tset")
    assert (code, "there is no split 'tset': there are train, validation, test, all" in err) == (2, True)
    code, _, err = maas("evaluate", "flowers", "--dataset", "none")
    assert (code, "NOT_FOUND: datasets/none" in err) == (4, True)


def test_bases_are_compared_in_a_table(maas: Maas) -> None:
    """Each backbone once, the recommendation with its reason, and how to begin."""
    code, out, _ = maas("recommend", "photos")
    assert code == 0
    words = " ".join(out.split())
    assert "photos: 21 rows, each answered by a head that was fitted without it" in words
    assert "base/1" in words
    assert "models/base/versions/1 is the only candidate: accuracy" in words
    assert "to begin: maas finetune datasets/photos --base base/1 --recipe linear_probe" in words
    code, _, err = maas("recommend", "photos", "--max-size-mb", "0.1")
    assert (code, "models/base/versions/1 (size: 2.76 MiB, limit 0.0954 MiB)" in err) == (2, True)


def test_a_report_is_written_and_opened(
    trained: Trained, maas: Maas, desktop: Desktop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the folder that the person is in, or where they say; a browser is opened unless they say not to."""
    monkeypatch.chdir(tmp_path)
    job_id = trained.job.name.removeprefix("trainingJobs/")
    code, out, _ = maas("report", job_id)
    path = tmp_path / f"report-{job_id}.html"
    assert (code, out) == (0, f"{path.name}\n")
    assert desktop.await_opened() == [path.as_uri()]
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert maas("report", trained.job.name, "--output", "page.html", "--no-open")[:2] == (0, "page.html\n")
    assert (tmp_path / "page.html").read_bytes() == path.read_bytes()
    assert desktop.opened() == [path.as_uri()]


def test_a_job_is_named_by_its_first_digits_or_as_the_latest(trained: Trained, maas: Maas) -> None:
    """What fits no job, or two, is explained."""
    job_id = trained.job.name.removeprefix("trainingJobs/")
    for text in (job_id, job_id[:6], f"trainingJobs/{job_id[:6]}", "latest"):
        code, out, _ = maas("jobs", "show", text, "--json")
        assert (code, json.loads(out)["name"]) == (0, trained.job.name)
    code, _, err = maas("jobs", "watch", "zz")
    assert (code, "no job's id begins with 'zz'" in err) == (4, True)


def test_a_page_is_written_where_there_is_no_desktop(
    maas: Maas, desktop: Desktop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is opened, and nothing but its name is printed."""
    monkeypatch.delenv("DISPLAY")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    path = tmp_path / "page.html"
    assert maas("report", "latest", "--output", str(path)) == (0, f"{path}\n", "")
    assert desktop.opened() == []


def test_a_report_that_cannot_be_made_leaves_no_file(
    maas: Maas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does a path that cannot be written end in a traceback."""
    monkeypatch.chdir(tmp_path)
    code, _, err = maas("report", "0" * 32, "--no-open")
    assert (code, "NOT_FOUND: trainingJobs/000" in err) == (4, True)
    assert list(tmp_path.iterdir()) == []


def test_a_report_that_cannot_be_written_is_explained(trained: Trained, maas: Maas, tmp_path: Path) -> None:
    """The path is named."""
    code, _, err = maas("report", trained.job.name, "--output", str(tmp_path / "none" / "page.html"), "--no-open")
    assert (code, "none/page.html" in err, "Traceback" in err) == (1, True, False)
