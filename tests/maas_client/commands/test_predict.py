"""`maas predict` on many files, large ones, and some that are no images."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.inference_service.making import LABELS, Recipe, open_registry, photo
from tests.inference_service.running import RunningService, running_service
from tests.maas_client.running import Maas, read


@contextmanager
def serving(home: Path) -> Iterator[RunningService]:
    """Serve one model, with limits that are lower than the client's."""
    open_registry(home).publish(Recipe(head=1), model_id="flowers")
    with running_service(home, max_images_per_request=5, max_message_bytes=2**20, max_queue_cost=64) as running:
        running.await_serving()
        yield running


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service with one model."""
    with serving(tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.fixture
def maas(service: RunningService, command: Maas, monkeypatch: pytest.MonkeyPatch) -> Maas:
    """Run a command against the service."""
    monkeypatch.setenv("MAAS_INFERENCE_ADDRESS", service.address)
    return command


def photos(folder: Path, count: int, size: tuple[int, int] = (90, 80)) -> list[str]:
    """Write photos and return their names."""
    folder.mkdir(exist_ok=True)
    names = [str(folder / f"{number:02}.png") for number in range(count)]
    for number, name in enumerate(names):
        Path(name).write_bytes(photo(number, size))
    return names


def test_one_bad_file_costs_the_others_nothing(maas: Maas, tmp_path: Path) -> None:
    """Of 25 files, two are no images and one is not there: each is named, 22 have labels, the exit code is 1."""
    names = photos(tmp_path / "photos", 25)
    Path(names[3]).write_bytes(b"no image")
    Path(names[17]).write_bytes(b"")
    Path(names[24]).unlink()
    code, out, err = maas("predict", "flowers", *names, "--json")
    answers = json.loads(out)
    assert code == 1
    assert [each["file"] for each in answers] == names
    assert [number for number, each in enumerate(answers) if "error" in each] == [3, 17, 24]
    assert all(each["version"] == "models/flowers/versions/1" for each in answers if "error" not in each)
    assert all(f"{names[number]}: " in err for number in (3, 17, 24))
    assert "3 of 25 photos could not be classified" in err


def test_answers_stay_with_their_files(maas: Maas, tmp_path: Path) -> None:
    """A file has the same scores beside bad ones and alone."""
    names = photos(tmp_path / "photos", 7)
    Path(names[2]).write_bytes(b"no image")
    _, out, _ = maas("predict", "flowers", *names, "--json")
    beside = {each["file"]: each.get("scores") for each in json.loads(out)}
    for name in (names[1], names[3], names[6]):
        alone = read(maas, "predict", "flowers", name)[0]["scores"]
        assert [each["label"] for each in alone] == [each["label"] for each in beside[name]]
        assert alone[0]["score"] == pytest.approx(beside[name][0]["score"], abs=1e-4)


def test_requests_fit_into_a_message(maas: Maas, tmp_path: Path) -> None:
    """Twelve files of 300 kB are sent although together they are over the service's limit of 1 MiB."""
    names = photos(tmp_path / "photos", 12)
    for name in names:
        Path(name).write_bytes(Path(name).read_bytes() + bytes(300_000))  # decoders ignore what follows an image
    assert [each["file"] for each in read(maas, "predict", "flowers", *names)] == names


def test_a_file_that_no_message_holds_is_named(maas: Maas, tmp_path: Path) -> None:
    """It is larger than a message; the file beside it is classified."""
    names = photos(tmp_path / "photos", 2)
    Path(names[0]).write_bytes(Path(names[0]).read_bytes() + bytes(2**21))
    code, out, _ = maas("predict", "flowers", *names, "--json")
    first, second = json.loads(out)
    assert code == 1
    assert "make the image smaller" in first["error"]
    assert second["scores"]


def test_a_folder_means_the_photos_in_it(maas: Maas, tmp_path: Path) -> None:
    """In the order of their names, whatever lies how deep; hidden files are none."""
    names = photos(tmp_path / "photos", 2) + photos(tmp_path / "photos" / "more", 1)
    (tmp_path / "photos" / ".DS_Store").write_bytes(b"x")
    assert [each["file"] for each in read(maas, "predict", "flowers", str(tmp_path / "photos"))] == names


def test_an_empty_folder_is_explained(maas: Maas, tmp_path: Path) -> None:
    """There is nothing to classify."""
    code, _, err = maas("predict", "flowers", str(tmp_path))
    assert code == 1
    assert "no photos" in err


def test_more_labels_than_there_are_means_all(maas: Maas, tmp_path: Path) -> None:
    """The model has three."""
    scores = read(maas, "predict", "flowers", *photos(tmp_path / "photos", 1), "--top-k", "100")[0]["scores"]
    assert {each["label"] for each in scores} == set(LABELS)


def test_a_model_that_is_not_there_is_named(maas: Maas, tmp_path: Path) -> None:
    """The service's refusal is shown, and no file is blamed."""
    code, out, err = maas("predict", "nope", *photos(tmp_path / "photos", 3))
    assert (code, out) == (1, "")
    assert "NOT_FOUND: models/nope" in err


def test_answers_before_a_failure_are_shown(
    command: Maas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the service ends after the first request, its photos have labels, and the error says how many have none."""
    names = photos(tmp_path / "photos", 40)
    read_bytes = Path.read_bytes
    with serving(tmp_path) as service:
        monkeypatch.setenv("MAAS_INFERENCE_ADDRESS", service.address)

        def read_and_leave(path: Path) -> bytes:
            if path.name == "33.png":  # the first request is answered by then, and the second one is not yet sent
                service.stop()
            return read_bytes(path)

        monkeypatch.setattr(Path, "read_bytes", read_and_leave)
        capsys.readouterr()  # what the service itself has said
        code, out, err = command("predict", "flowers", *names, "--json")
    assert code == 1
    assert [each["file"] for each in json.loads(out)] == names[:32]
    assert "8 of 40 photos have no answer" in err
