"""Penguins through both services: upload, a job without a base, a gate, answers to rows with missing cells, a copy."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import pytest

from maas_client.client import Client
from maas_client.errors import InvalidArgument
from tests.e2e.conftest import start_serving

PENGUINS = Path(str(distribution("palmerpenguins").locate_file("palmerpenguins/data/penguins.csv")))
GENTOO = {
    "island": "Biscoe",
    "bill_length_mm": 47.5,
    "bill_depth_mm": 14.2,
    "flipper_length_mm": 217.0,
    "body_mass_g": 4950.0,
    "sex": "female",
    "year": 2008,
}


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client of both services, with a version of penguins that passed the gate."""
    with start_serving(tmp_path_factory.mktemp("home")) as client:
        client.upload_dataset("penguins", PENGUINS, columns={"species": "target"})
        job = client.wait(client.finetune("penguins", dataset="penguins", promote="production").name)
        client.wait_ready(job.version)
        yield client


def test_a_row_is_answered_whatever_is_missing(serving: Client) -> None:
    """A missing cell is null, or left out; a new category is one of all others."""
    rows = [GENTOO, {**GENTOO, "sex": None}, {"bill_depth_mm": 14.2, "flipper_length_mm": 217.0, "island": "Elsewhere"}]
    answer = serving.predict("penguins", rows, top_k=1)
    assert [each.classification.scores[0].label for each in answer.predictions] == ["Gentoo"] * 3


def test_a_wrong_cell_is_refused_by_its_column(serving: Client) -> None:
    """A text where a number belongs, and a column that the version lacks."""
    with pytest.raises(InvalidArgument, match="column 'body_mass_g' must be a finite number"):
        serving.predict("penguins", [{**GENTOO, "body_mass_g": "heavy"}])
    with pytest.raises(InvalidArgument, match="has a column 'mass' that the version lacks"):
        serving.predict("penguins", [{"mass": 1.0}])


def test_a_version_is_exported_and_imported(serving: Client, tmp_path: Path) -> None:
    """With its schema and its preprocessing, which are stages."""
    path = tmp_path / "penguins.maas"
    serving.export("penguins", path)
    copy = serving.import_archive(path, model="copy")
    serving.wait_ready(copy.name)
    answers = [serving.predict(name, [GENTOO]).predictions for name in ("penguins", copy.name)]
    assert answers[0] == answers[1]


def test_a_whole_table_is_scored(serving: Client, tmp_path: Path) -> None:
    """Its own file, with missing cells and its target beside the features; a wrong cell costs its row alone."""
    lines = PENGUINS.read_text().splitlines()
    broken = lines[5].replace("Adelie,Torgersen,", "Adelie,Torgersen,long ", 1)
    source, output = tmp_path / "penguins.csv", tmp_path / "scores.csv"
    source.write_text("\n".join([*lines[:5], broken, *lines[6:]]) + "\n")
    found = serving.score_files("penguins", [source], output)
    assert (found.num_examples, found.num_errors) == (len(lines) - 1, 1)
    with output.open(newline="") as file:
        scores = list(csv.DictReader(file))
    assert [number for number, each in enumerate(scores) if each["error"]] == [4]
    labels = [line.split(",")[0] for line in lines[1:]]
    right = [each["label"] == label for each, label in zip(scores, labels, strict=True)]
    assert sum(right) / len(right) > 0.95


def test_the_rows_of_a_file_are_answered_one_by_one(serving: Client, tmp_path: Path) -> None:
    """As cells by column: the target is left out, and a wrong cell costs its row alone."""
    header, *lines = PENGUINS.read_text().splitlines()
    wrong = lines[4].replace("Torgersen,", "Torgersen,long ")
    source = tmp_path / "penguins.csv"
    source.write_text("\n".join([header, *lines[:3], wrong, lines[5]]) + "\n")
    answers = list(serving.predict_files("penguins", [source], top_k=1))
    assert [each.name for each in answers] == [f"{source}:{line}" for line in range(2, 7)]
    assert [bool(each.error) for each in answers] == [False, False, False, True, False]
    assert "must have a number, not 'long" in answers[3].error
    found = [each.prediction.classification.scores[0].label for each in answers if each.prediction is not None]
    assert found == ["Adelie"] * 4
