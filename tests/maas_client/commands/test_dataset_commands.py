"""`maas datasets`, as a person types it and reads it, on a real service."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from maas_client.__main__ import main
from tests.maas_client.desktop import Desktop
from tests.maas_client.running import Maas
from tests.training_service.datasets.files.test_sources import write
from tests.training_service.datasets.test_dataset_splits import encoded_anew
from tests.training_service.datasets.test_dataset_versions import more
from tests.training_service.making import photos, tar_of
from tests.training_service.running import running_service


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder that the service may read."""
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def maas(
    place: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Maas]:
    """Run a command; return its exit code, standard output and standard error."""
    home = tmp_path_factory.mktemp("home")

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["maas", *arguments])
        with pytest.raises(SystemExit) as exited:
            main()
        printed = capsys.readouterr()
        return int(exited.value.code or 0), printed.out, printed.err

    with running_service(home, num_concurrent_jobs=0, dataset_roots=str(place), upkeep_seconds=0):
        monkeypatch.setenv("MAAS_TRAINING_ADDRESS", (home / "address").read_text())
        capsys.readouterr()  # what the service itself has said
        yield run


def done(maas: Maas, *arguments: str) -> str:
    """Run a command that succeeds; return what it printed."""
    code, out, err = maas("datasets", *arguments)
    assert code == 0, err
    return out


def test_an_upload_is_shown(maas: Maas, place: Path) -> None:
    """What is in it, how it balances, what looks alike and what was left out; names are no markup."""
    files = photos(12, ("blue",)) | photos(4, ("red",)) | {"red/[b]x.txt": b"text"}
    write(place / "photos", files | {"blue/again.jpg": encoded_anew(files["blue/0.png"])})
    out = done(maas, "upload", str(place / "photos"), "--seed", "3")
    for text in (
        "datasets/photos",
        "17 examples (image), 2 labels",
        "blue has 4.0 times as many to train on as red: think of --class-weights balanced",
        "assigned with seed 3",
        "2 examples, none across splits",
        "90 wide, 80 high",
        "look alike: blue/0.png, blue/again.jpg",
        "left out: red/[b]x.txt: ",
    ):
        assert text in out
    assert [line.count("█") for line in out.splitlines() if "█" in line] == [20, 6]
    assert out == done(maas, "show", "photos")
    assert json.loads(done(maas, "show", "photos", "--json"))["near_duplicate_count"] == "2"


def test_an_upload_can_be_appended(maas: Maas, place: Path) -> None:
    """Under a name of its own; a seed cannot be given, as its parent has one."""
    write(place / "photos", photos(4))
    (place / "more.tar").write_bytes(tar_of(more(4)))
    done(maas, "upload", str(place / "photos"))
    out = done(maas, "upload", str(place / "more.tar"), "--append-to", "photos")
    assert "datasets/more" in out
    assert "16 examples (image), 2 labels" in out
    assert "appended to  datasets/photos" in out
    code, _, err = maas("datasets", "upload", str(place / "more.tar"), "--append-to", "photos", "--seed", "1")
    assert (code, "split: must be unset" in err) == (2, True)


def test_what_the_service_can_read_is_registered(maas: Maas, place: Path) -> None:
    """And what its operator does not allow is not."""
    write(place / "photos", photos(4))
    out = done(maas, "register", "mine", (place / "photos").as_uri())
    assert f"read from   {(place / 'photos').as_uri()}" in out
    code, _, err = maas("datasets", "register", "other", "file:///etc")
    assert (code, "MAAS_TRAINING_DATASET_ROOTS" in err) == (6, True)


def test_a_preview_is_written_and_opened(maas: Maas, place: Path, desktop: Desktop) -> None:
    """As a picture; of one split where that is asked for."""
    write(place / "photos", photos(10))
    done(maas, "upload", str(place / "photos"))
    sheet = place / "sheet.png"
    assert done(maas, "preview", "photos", "-o", str(sheet)).strip() == str(sheet)
    assert desktop.await_opened() == [sheet.as_uri()]
    done(maas, "preview", "photos", "--split", "test", "-o", str(place / "test.png"), "--no-open")
    with Image.open(sheet) as whole, Image.open(place / "test.png") as part:
        assert whole.height > part.height
    assert desktop.opened() == [sheet.as_uri()]
    assert maas("datasets", "preview", "none")[0] == 4


def test_what_is_deleted_can_come_back(maas: Maas, place: Path) -> None:
    """The command says how, and listings hide it meanwhile."""
    write(place / "photos", photos(4))
    done(maas, "upload", str(place / "photos"))
    out = done(maas, "delete", "photos", "--yes")
    assert "`maas datasets undelete photos` brings it back" in out
    assert "no datasets yet" in done(maas)
    listed: Any = json.loads(done(maas, "--deleted", "--json"))
    assert [each["state"] for each in listed] == ["RESOURCE_STATE_DELETED"]
    assert "deleted" in done(maas, "show", "photos")
    assert done(maas, "undelete", "photos") == "datasets/photos is back\n"
    assert "photos" in done(maas)


def test_a_table_of_numbers_is_uploaded_shown_and_previewed(maas: Maas, place: Path) -> None:
    """Its targets and features are summed up; a column may be left out, and a task be asked for."""
    rows = [f"{number},{number / 2},{number % 3},{number}" for number in range(20)]
    (place / "houses.csv").write_text("\n".join(["id,size,rooms,price", *rows]))
    out = done(maas, "upload", str(place / "houses.csv"), "--ignore", "id", "--task", "regression")
    for text in ("20 examples (values), 1 target", "task        regression", "2 numbers a row", "price", "rooms"):
        assert text in out
    shown = done(maas, "preview", "houses", "--split", "test")
    assert "datasets/houses" in shown
    assert {"size", "rooms", "target"} <= set(shown.split())
    code, _, err = maas("datasets", "upload", str(place / "houses.csv"), "--id", "other", "--task", "ranking")
    assert (code, "--task must be one of classification, multi_label, regression" in err) == (2, True)


def test_the_schema_of_a_table_is_printed_edited_and_given_back(maas: Maas, place: Path) -> None:
    """By kinds of columns; the modality follows from these; a kind that a cell does not fit is refused by its place."""
    place.joinpath("houses.csv").write_text(
        "zip,rooms,town,price\n" + "\n".join(f"{8000 + n % 3},{n % 5},t{n % 2},{n}.5" for n in range(40))
    )
    schema = place / "schema.json"
    done(maas, "upload", str(place / "houses.csv"), "--ignore", "town")
    schema.write_text(done(maas, "schema", "houses"))
    assert json.loads(schema.read_text()) == {"zip": "numeric", "rooms": "numeric", "price": "target", "town": "ignore"}
    done(maas, "upload", str(place / "houses.csv"), "--id", "again", "--schema", str(schema))
    shown = [json.loads(done(maas, "show", each, "--json")) for each in ("houses", "again")]
    assert [each["modality"] for each in shown] == ["values", "values"]
    assert shown[0]["digest"] == shown[1]["digest"]
    schema.write_text(schema.read_text().replace('"zip": "numeric"', '"zip": "categorical"'))
    done(maas, "upload", str(place / "houses.csv"), "--id", "edited", "--schema", str(schema))
    edited = json.loads(done(maas, "show", "edited", "--json"))
    assert [(each["name"], each["type"]) for each in edited["table"]["columns"]] == [
        ("zip", "COLUMN_TYPE_CATEGORY"),
        ("rooms", "COLUMN_TYPE_NUMBER"),
    ]
    schema.write_text('{"town": "date", "price": "target"}')
    code, _, err = maas("datasets", "upload", str(place / "houses.csv"), "--id", "wrong", "--schema", str(schema))
    assert (code, "row 1 (line 2), column 'town' must be a date" in err) == (2, True)


def test_pictures_have_no_schema(maas: Maas, place: Path) -> None:
    """There are no columns."""
    write(place / "photos", photos(4))
    done(maas, "upload", str(place / "photos"))
    code, _, err = maas("datasets", "schema", "photos")
    assert (code, "datasets/photos has no columns" in err) == (1, True)
