"""`maas predict` on many files, large ones and unusable ones, and on rows of numbers, by task."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import Message

from maas_client.client import Client
from tests.inference_service.making import LABELS, Recipe, open_registry, photo
from tests.inference_service.running import RunningService, running_service
from tests.inference_service.tasks import TASK_OF, model_of, publish_tasks
from tests.maas_client.running import Maas, read

FIELDS = {"classification": ("label", "score"), "multi_label": ("label", "score"), "regression": ("target", "value")}


def entries(found: Message) -> list[Any]:
    """Return the labels or targets of a prediction."""
    ((_, listed),) = found.ListFields()
    return list(listed)


@contextmanager
def serving(home: Path) -> Iterator[RunningService]:
    """Serve one model, with limits that are lower than the client's."""
    open_registry(home).publish(Recipe(head=1), model_id="flowers")
    limits = {"max_examples_per_request": 5, "max_message_bytes": 2**20, "max_queue_cost": "image=64,values=64"}
    with running_service(home, **limits) as running:
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
    assert [each["example"] for each in answers] == names
    assert [number for number, each in enumerate(answers) if "error" in each] == [3, 17, 24]
    assert all(each["version"] == "models/flowers/versions/1" for each in answers if "error" not in each)
    assert all(f"{names[number]}: " in err for number in (3, 17, 24))
    assert "3 of 25 examples could not be used" in err


def test_answers_stay_with_their_files(maas: Maas, tmp_path: Path) -> None:
    """A file has the same scores beside bad ones and alone."""
    names = photos(tmp_path / "photos", 7)
    Path(names[2]).write_bytes(b"no image")
    _, out, _ = maas("predict", "flowers", *names, "--json")
    beside = {each["example"]: each.get("classification", {}).get("scores") for each in json.loads(out)}
    for name in (names[1], names[3], names[6]):
        alone = read(maas, "predict", "flowers", name)[0]["classification"]["scores"]
        assert [each["label"] for each in alone] == [each["label"] for each in beside[name]]
        assert alone[0]["score"] == pytest.approx(beside[name][0]["score"], abs=1e-4)


def test_requests_fit_into_a_message(maas: Maas, tmp_path: Path) -> None:
    """Twelve files of 300 kB are sent although together they are over the service's limit of 1 MiB."""
    names = photos(tmp_path / "photos", 12)
    for name in names:
        Path(name).write_bytes(Path(name).read_bytes() + bytes(300_000))  # decoders ignore what follows an image
    assert [each["example"] for each in read(maas, "predict", "flowers", *names)] == names


def test_a_file_that_no_message_holds_is_named(maas: Maas, tmp_path: Path) -> None:
    """It is larger than a message; the file beside it is classified."""
    names = photos(tmp_path / "photos", 2)
    Path(names[0]).write_bytes(Path(names[0]).read_bytes() + bytes(2**21))
    code, out, _ = maas("predict", "flowers", *names, "--json")
    first, second = json.loads(out)
    assert code == 1
    assert "make the example smaller" in first["error"]
    assert second["classification"]


def test_a_folder_means_the_photos_in_it(maas: Maas, tmp_path: Path) -> None:
    """In the order of their names, whatever lies how deep; hidden files are none."""
    names = photos(tmp_path / "photos", 2) + photos(tmp_path / "photos" / "more", 1)
    (tmp_path / "photos" / ".DS_Store").write_bytes(b"x")
    assert [each["example"] for each in read(maas, "predict", "flowers", str(tmp_path / "photos"))] == names


def test_an_empty_folder_is_explained(maas: Maas, tmp_path: Path) -> None:
    """There is nothing to classify."""
    code, _, err = maas("predict", "flowers", str(tmp_path))
    assert code == 2
    assert "no files" in err


def test_more_labels_than_there_are_means_all(maas: Maas, tmp_path: Path) -> None:
    """The model has three."""
    scores = read(maas, "predict", "flowers", *photos(tmp_path / "photos", 1), "--top-k", "100")[0]["classification"][
        "scores"
    ]
    assert {each["label"] for each in scores} == set(LABELS)


def test_a_model_that_is_not_there_is_named(maas: Maas, tmp_path: Path) -> None:
    """The service's refusal is shown, and no file is blamed."""
    code, out, err = maas("predict", "nope", *photos(tmp_path / "photos", 3))
    assert (code, out) == (4, "")
    assert "NOT_FOUND: models/nope" in err


def test_answers_before_a_failure_are_shown(
    command: Maas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the service ends after the first request, its photos have labels, and the error says how many have none."""
    names = photos(tmp_path / "photos", 80)
    read_bytes = Path.read_bytes
    with serving(tmp_path) as service:
        monkeypatch.setenv("MAAS_INFERENCE_ADDRESS", service.address)

        def read_and_leave(path: Path) -> bytes:
            if path.name == "65.png":  # the first request is answered by then, and the second one is not yet sent
                service.stop()
            return read_bytes(path)

        monkeypatch.setattr(Path, "read_bytes", read_and_leave)
        capsys.readouterr()  # what the service itself has said
        code, out, err = command("predict", "flowers", *names, "--json")
    assert code == 5
    assert [each["example"] for each in json.loads(out)] == names[:64]
    assert "16 of 80 examples have no answer" in err


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service with a model of rows of six numbers for each task."""
    home = tmp_path_factory.mktemp("numbers")
    publish_tasks(open_registry(home))
    with running_service(home) as running:
        running.await_serving()
        yield running


@pytest.fixture
def ask(numbers: RunningService, command: Maas, monkeypatch: pytest.MonkeyPatch) -> Maas:
    """Run a command against the service of models of numbers."""
    monkeypatch.setenv("MAAS_INFERENCE_ADDRESS", numbers.address)
    return command


def table(file: Path, *lines: str) -> str:
    """Write a CSV file and return its name."""
    file.write_text("\n".join(lines) + "\n")
    return str(file)


@pytest.mark.parametrize("kind", ["classification", "multi_label", "regression"])
def test_the_rows_of_a_csv_file_are_answered_by_task(ask: Maas, tmp_path: Path, kind: str) -> None:
    """Each by the line that it is in, as the Python client answers it; the header is no row."""
    rows = np.random.default_rng(0).standard_normal((100, 6), np.float32)
    file = table(tmp_path / "x.csv", "a,b,c,d,e,f", *(",".join(map(str, row)) for row in rows.tolist()))
    answers = read(ask, "predict", model_of("values", kind), file)
    with Client() as client:
        expected = client.predict(model_of("values", kind), rows).predictions
        lists = client.predict(model_of("values", kind), [row.tolist() for row in rows]).predictions
    assert lists == expected
    assert [each["example"] for each in answers] == [f"{file}:{line}" for line in range(2, 102)]
    for answer, prediction in zip(answers, expected, strict=True):
        name, value = FIELDS[kind]
        wanted = {getattr(each, name): getattr(each, value) for each in entries(getattr(prediction, kind))}
        found = {each[name]: each.get(value, 0.0) for each in next(iter(answer[kind].values()))}
        assert found == pytest.approx(wanted, abs=1e-4)


def test_each_task_is_shown_in_its_own_words(ask: Maas, tmp_path: Path) -> None:
    """The best labels with scores, the labels that are assigned, and each target's value."""
    file = table(tmp_path / "x.csv", "0.5,-1,2,0,1,3")
    shown = {kind: " ".join(ask("predict", model_of("values", kind), file)[1].split()) for kind in TASK_OF}
    assert re.search(r"x.csv:1 (red|round|large) 0\.\d{3} (red|round|large) 0\.\d{3}", shown["classification"])
    assert re.search(r"x.csv:1 (no label|(red|round|large) (0\.\d{3}|1\.000))", shown["multi_label"])
    assert re.search(r"x.csv:1 red -?[\d.e-]+ round -?[\d.e-]+ large -?[\d.e-]+ answered by", shown["regression"])


def test_columns_are_chosen_by_name(ask: Maas, tmp_path: Path) -> None:
    """In the order of training, whatever else the file has."""
    plain = table(tmp_path / "plain.csv", "1,2,3,4,5,6")
    wide = table(tmp_path / "wide.csv", "label,f,e,d,c,b,a", "rose,6,5,4,3,2,1")
    (one,), (other,) = (
        read(ask, "predict", "values-regression", plain),
        read(ask, "predict", "values-regression", wide, "--columns", "a,b,c, d,e,f"),
    )
    assert one["regression"] == other["regression"]
    code, _, err = ask("predict", "values-regression", wide, "--columns", "a,b,x")
    assert (code, "has no column 'x': the first line has label, f" in err) == (1, True)


def test_an_unusable_row_costs_the_others_nothing(ask: Maas, tmp_path: Path) -> None:
    """A word, a number too few and one that is not finite; each is named by its line."""
    good = "1,2,3,4,5,6"
    file = table(tmp_path / "x.csv", good, "1,2,three,4,5,6", good, "1,2,3,4,5", "1,2,3,4,5,inf", "", good)
    code, out, err = ask("predict", "values-regression", file, "--json")
    answers = {each["example"].rpartition(":")[2]: each for each in json.loads(out)}
    assert code == 1
    assert [line for line, each in answers.items() if "error" in each] == ["2", "4", "5"]
    assert "must be a row of 6 numbers, not of 5" in answers["4"]["error"]
    values = {line: [each["value"] for each in answers[line]["regression"]["targets"]] for line in ("1", "3", "7")}
    assert values["3"] == pytest.approx(values["1"], abs=1e-5)
    assert values["7"] == pytest.approx(values["1"], abs=1e-5)
    assert f"{file}:2: must have a number in each cell, not 'three' in column 3" in err
    assert "3 of 6 examples could not be used" in err


def test_a_model_says_what_it_takes(ask: Maas, tmp_path: Path) -> None:
    """Where it is asked about a photo, or an option of another task is given."""
    _, out, _ = ask("predict", "values-regression", *photos(tmp_path / "photos", 1), "--json")
    assert json.loads(out)[0]["error"] == "must be a row of 6 numbers"
    code, _, err = ask("predict", "values-regression", table(tmp_path / "x.csv", "1,2,3,4,5,6"), "--top-k", "2")
    assert (code, "top_k: is an option of classification" in " ".join(err.split())) == (2, True)


def test_a_column_of_labels_is_found_before_anything_is_sent(ask: Maas, tmp_path: Path) -> None:
    """Once, and not for each row: the message has the option to give, and that works."""
    file = table(tmp_path / "x.csv", "id,a,b,c,d,e,f,label", *(f"no{row},1,2,3,4,5,{row},red" for row in range(20)))
    code, out, err = ask("predict", model_of("values", "regression"), file)
    assert (code, out, err.count("error")) == (1, "", 2)
    assert "has text in the column id, label: say which columns to send, such as --columns a,b,c,d,e,f" in err
    assert len(read(ask, "predict", model_of("values", "regression"), file, "--columns", "a,b,c,d,e,f")) == 20


def test_a_number_too_many_asks_for_columns(ask: Maas, tmp_path: Path) -> None:
    """It may be the target: no text gives it away."""
    file = table(tmp_path / "x.csv", "a,b,c,d,e,f,price", "1,2,3,4,5,6,7")
    code, _, err = ask("predict", model_of("values", "regression"), file)
    assert (code, "--columns names those that the model takes" in " ".join(err.split())) == (1, True)
