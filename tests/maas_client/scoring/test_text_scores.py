"""Scores of a column of texts."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from maas_client.client import Client
from maas_client.failures import CommandFailed
from tests.inference_service.making import open_registry
from tests.inference_service.running import running_service
from tests.inference_service.test_texts import TEXTS, by_hand, publish


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A client of a service with one text model."""
    publish(open_registry(tmp_path / "home").store)
    with running_service(tmp_path / "home") as running:
        running.await_serving()
        monkeypatch.setenv("MAAS_INFERENCE_ADDRESS", running.address)
        with Client() as made:
            yield made


def test_a_column_of_texts_is_scored(client: Client, tmp_path: Path) -> None:
    """The column that is named, with commas and letters of any script in its cells; an empty text has an error."""
    source, output = tmp_path / "texts.csv", tmp_path / "scores.csv"
    texts = [*TEXTS, "crab, ship and Übergröße", ""]
    with source.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["id", "body"], *([number, text] for number, text in enumerate(texts))])
    with pytest.raises(CommandFailed, match="has 2 columns: say which one has the texts"):
        client.score_files("topics", [source], output)
    found = client.score_files("topics", [source], output, columns=["body"])
    assert (found.num_examples, found.num_errors) == (len(texts), 1)
    with output.open(newline="") as file:
        *lines, empty = csv.DictReader(file)
    wanted, _ = by_hand(texts[:-1])
    numbers = [[float(each["score:farm"]), float(each["score:sea"])] for each in lines]
    np.testing.assert_allclose(numbers, wanted, atol=1e-4)
    assert empty["error"]


def test_texts_and_a_table_of_them_are_answered_one_by_one(client: Client, tmp_path: Path) -> None:
    """Each by its number, or by its line."""
    source = tmp_path / "texts.tsv"
    source.write_text("text\tid\n" + "".join(f"{text}\t{number}\n" for number, text in enumerate(TEXTS)))
    answers = list(client.predict_files("topics", [source], texts=TEXTS[:2]))
    assert [each.name for each in answers[:3]] == ["text 1", "text 2", f"{source}:2"]
    wanted, _ = by_hand([*TEXTS[:2], *TEXTS])
    scores = [
        {each.label: each.score for each in answer.prediction.classification.scores}
        for answer in answers
        if answer.prediction is not None
    ]
    np.testing.assert_allclose([[each["farm"], each["sea"]] for each in scores], wanted, atol=1e-4)
