"""Scores of tables and folders: by task, in order, beside rows at fault, and gone on with after an interruption."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from io import BufferedReader, BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from maas_client.client import Client
from maas_client.failures import CommandFailed
from maas_client.files.row_blocks import open_table
from maas_client.files.tables import Unusable
from model_store.transactions.publication import Publication
from tests.inference_service.making import mlp_manifest, open_registry, photo
from tests.inference_service.running import RunningService, running_service
from tests.inference_service.tasks import NUMBERS, TASK_OF, model_of, publish_tasks, with_task
from tests.maas_client.running import Maas

NUM_ROWS = 300
ROWS: NDArray[np.float32] = np.random.default_rng(0).standard_normal((NUM_ROWS, 6), np.float32)
NAMES = ("red", "round", "large")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service with a model of each modality and task, which takes few rows a request."""
    home = tmp_path_factory.mktemp("home")
    registry = open_registry(home)
    publish_tasks(registry)
    unnamed = with_task(mlp_manifest(registry.store.blobs, NUMBERS), TASK_OF["classification"])
    named = replace(unnamed, input_spec={**unnamed.input_spec, "columns": list("abcdef")})
    registry.store.publish(Publication("named", named, alias="production"))
    with running_service(home, max_examples_per_request=64) as running:
        running.await_serving()
        yield running


@pytest.fixture
def maas(service: RunningService, command: Maas, monkeypatch: pytest.MonkeyPatch) -> Maas:
    """Run a command against the service."""
    monkeypatch.setenv("MAAS_INFERENCE_ADDRESS", service.address)
    return command


@pytest.fixture
def client(service: RunningService, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A client of the service."""
    monkeypatch.setenv("MAAS_INFERENCE_ADDRESS", service.address)
    with Client() as made:
        yield made


def parquet(path: Path) -> Path:
    """Write the rows as Parquet, in groups of 100."""
    columns = {name: ROWS[:, place] for place, name in enumerate("abcdef")}
    pq.write_table(pa.table(columns), path, row_group_size=100)
    return path


def table(path: Path, rows: Sequence[Sequence[object]], header: str = "a,b,c,d,e,f", separator: str = ",") -> Path:
    """Write a CSV file."""
    lines = [header.replace(",", separator), *(separator.join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def read(path: Path) -> list[dict[str, str]]:
    """Return the lines of a file of scores, by column."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def expected(client: Client, kind: str) -> list[dict[str, float]]:
    """Return what Predict answers to ROWS, by label or target."""
    answers = [
        each
        for start in range(0, NUM_ROWS, 50)
        for each in client.predict(
            model_of("values", kind), ROWS[start : start + 50], top_k=3 if kind == "classification" else 0
        ).predictions
    ]
    found = (next(iter(getattr(each, kind).ListFields()))[1] for each in answers)
    key, value = ("target", "value") if kind == "regression" else ("label", "score")
    return [{getattr(each, key): getattr(each, value) for each in entries} for entries in found]


def test_a_version_that_knows_its_columns_chooses_them_by_name(client: Client, tmp_path: Path) -> None:
    """Others beside them do no harm, a missing one is named, and rows without names are taken as they are."""
    rows = [["x", *row[::-1]] for row in ROWS[:20].tolist()]
    source = table(tmp_path / "x.csv", rows, "label,f,e,d,c,b,a")
    assert client.score_files("named", [source], tmp_path / "scores.csv").num_errors == 0
    wanted = expected(client, "classification")[:20]
    for line, scores in zip(read(tmp_path / "scores.csv"), wanted, strict=True):
        assert {name: float(line[f"score:{name}"]) for name in NAMES} == pytest.approx(scores, abs=1e-5)
    answers = list(client.predict_files("named", [source], top_k=3))
    for each, scores in zip(answers, wanted, strict=True):
        assert each.prediction is not None, each.error
        found = {entry.label: entry.score for entry in each.prediction.classification.scores}
        assert found == pytest.approx(scores, abs=1e-5)
    lacking = table(tmp_path / "y.csv", ROWS[:2].tolist(), "a,b,c,d,e,label")
    (answer,) = client.predict_files("named", [lacking])
    assert "has no column 'f'" in answer.error
    plain = table(tmp_path / "z.csv", ROWS[1:3].tolist(), ",".join(map(str, ROWS[0].tolist())))
    assert client.score_files("named", [plain], tmp_path / "plain.csv").num_examples == 3


@pytest.mark.parametrize("kind", sorted(TASK_OF))
@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_scores_are_those_of_predict_in_order(client: Client, tmp_path: Path, kind: str, suffix: str) -> None:
    """Each under the line that the row stands on, with the numbers of all labels or targets."""
    source, output = table(tmp_path / "x.csv", ROWS.tolist()), tmp_path / f"scores.{suffix}"
    found = client.score_files(model_of("values", kind), [source], output)
    assert (found.num_examples, found.num_errors) == (NUM_ROWS, 0)
    assert found.version == f"models/{model_of('values', kind)}/versions/1"
    lines: list[Any] = (
        read(output) if suffix == "csv" else [json.loads(line) for line in output.read_text().splitlines()]
    )
    assert [each["example"] for each in lines] == [f"{source}:{number}" for number in range(2, NUM_ROWS + 2)]
    prefix = "value" if kind == "regression" else "score"
    for line, wanted in zip(lines, expected(client, kind), strict=True):
        numbers = {name: float(line[f"{prefix}:{name}"]) for name in NAMES} if suffix == "csv" else line[f"{prefix}s"]
        assert numbers == pytest.approx(wanted, abs=1e-5)
        if kind == "classification":
            assert line["label"] == max(wanted, key=wanted.__getitem__)
        if kind == "multi_label":
            labels = line["labels"].split(";") if suffix == "csv" else line["labels"]
            assert {each for each in labels if each} == {name for name, score in wanted.items() if score >= 0.5}


def test_parquet_is_scored_by_its_columns(client: Client, tmp_path: Path) -> None:
    """As CSV of the same rows is, by the numbers of rows; some types are no cells, and some files no Parquet."""
    model = model_of("values", "classification")
    client.score_files(model, [table(tmp_path / "x.csv", ROWS.tolist())], tmp_path / "csv.csv")
    found = client.score_files(model, [parquet(tmp_path / "x.parquet")], tmp_path / "parquet.csv")
    assert (found.num_examples, found.num_errors) == (NUM_ROWS, 0)
    lines, wanted = read(tmp_path / "parquet.csv"), read(tmp_path / "csv.csv")
    assert [each.pop("example") for each in lines] == [f"{tmp_path}/x.parquet:{row + 1}" for row in range(NUM_ROWS)]
    assert [each.pop("example") for each in wanted] == [f"{tmp_path}/x.csv:{row + 2}" for row in range(NUM_ROWS)]
    assert lines == wanted
    pq.write_table(pa.table({name: [[1.0]] for name in "abcdef"}), tmp_path / "nested.parquet")
    with pytest.raises(CommandFailed, match=r"column 'a' is of the type list"):
        client.score_files(model, [tmp_path / "nested.parquet"], tmp_path / "none.csv")
    (tmp_path / "none.parquet").write_bytes(b"a,b,c")
    with pytest.raises(CommandFailed, match=r"none.parquet cannot be read as Parquet"):
        client.score_files(model, [tmp_path / "none.parquet"], tmp_path / "none.csv")


def test_what_was_interrupted_is_gone_on_with(client: Client, tmp_path: Path) -> None:
    """By the version that had begun; a line that was cut off is written again, and no other one."""
    source, output = table(tmp_path / "x.csv", ROWS.tolist()), tmp_path / "scores.csv"
    model = model_of("values", "classification")

    class Stopped(Exception):
        pass

    def stop(num_scored: int, _: int) -> None:
        if num_scored >= 128:
            raise Stopped

    with pytest.raises(Stopped):
        client.score_files(model, [source], output, on_scored=stop)
    assert not output.exists()
    partial = tmp_path / "scores.csv.partial"
    whole_lines = partial.read_bytes()
    partial.write_bytes(whole_lines[:-7])
    seen: list[int] = []
    client.score_files(model, [source], output, on_scored=lambda num_scored, _: seen.append(num_scored))
    assert seen[0] > 127
    assert output.read_bytes().startswith(whole_lines)
    other = tmp_path / "other.csv"
    client.score_files(model, [source], other)
    assert [each["example"] for each in read(output)] == [each["example"] for each in read(other)]
    assert not partial.exists()


def test_rows_at_fault_cost_the_others_nothing(client: Client, tmp_path: Path) -> None:
    """A word, a cell too few, and numbers that the service refuses: each has its error, the others their scores."""
    rows: list[list[Any]] = ROWS[:100].tolist()
    rows[3][2], rows[70] = "three", rows[70][:5]
    rows[40][1], rows[41][0] = "inf", "1e39"
    source, output = table(tmp_path / "x.csv", rows), tmp_path / "scores.csv"
    found = client.score_files("values-regression", [source], output)
    lines = read(output)
    assert (found.num_examples, found.num_errors) == (100, 4)
    assert [number for number, each in enumerate(lines) if each["error"]] == [3, 40, 41, 70]
    assert lines[3]["error"] == "must have a number, not 'three', in the column 'c'"
    assert lines[70]["error"] == "has no cell in the column 'f'"
    assert all(each["value:red"] for number, each in enumerate(lines) if number not in {3, 40, 41, 70})


def test_columns_are_chosen_and_separators_found(client: Client, tmp_path: Path) -> None:
    """Semicolons, tabs, another order and a header that is missing give the same scores."""
    rows, outputs = ROWS[:5].tolist(), []
    sources = [
        (table(tmp_path / "plain.csv", rows), ""),
        (table(tmp_path / "turned.csv", [[*row[::-1], "x"] for row in rows], "f,e,d,c,b,a,id", ";"), "a,b,c,d,e,f"),
        (table(tmp_path / "tabs.tsv", rows, separator="\t"), ""),
        (table(tmp_path / "bare.csv", rows[1:], ",".join(map(str, rows[0]))), ""),
    ]
    for number, (source, columns) in enumerate(sources):
        output = tmp_path / f"{number}.csv"
        client.score_files("values-regression", [source], output, columns=columns.split(",") if columns else ())
        outputs.append([each["value:red"] for each in read(output)])
    assert all(each == outputs[0] for each in outputs[1:])
    with pytest.raises(CommandFailed, match="has 7 columns, and the version takes 6 numbers: say which"):
        client.score_files("values-regression", [sources[1][0]], tmp_path / "x.csv")
    with pytest.raises(CommandFailed, match="has no column 'z'"):
        client.score_files("values-regression", [sources[1][0]], tmp_path / "x.csv", columns=["z"])


def test_files_are_scored_as_rows_are(client: Client, tmp_path: Path) -> None:
    """A line for each file below a folder; one that is no image has an error."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.png").write_bytes(photo(number, (90, 80)))
    (folder / "3.png").write_bytes(b"no image")
    found = client.score_files("image-classification", [folder], tmp_path / "scores.csv")
    lines = read(tmp_path / "scores.csv")
    assert (found.num_examples, found.num_errors) == (4, 1)
    assert [bool(each["error"]) for each in lines] == [False, False, False, True]
    for line in lines[:3]:
        assert sum(float(line[f"score:{name}"]) for name in NAMES) == pytest.approx(1, abs=1e-5)


def test_the_command_writes_scores_of_standard_input(
    maas: Maas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """JSON Lines by its first character; a second run finds the file there and leaves it."""
    lines = "".join(json.dumps(dict(zip("abcdef", row, strict=True))) + "\n" for row in ROWS[:4].tolist())
    monkeypatch.setattr(
        "sys.stdin", SimpleNamespace(buffer=BufferedReader(BytesIO(lines.encode())), isatty=lambda: False)
    )
    output = tmp_path / "scores.jsonl"
    code, out, _ = maas("predict", "values-regression", "-", "--output", str(output))
    assert (code, "4 examples answered by models/values-regression/versions/1" in out) == (0, True)
    assert len(output.read_text().splitlines()) == 4
    code, _, err = maas("predict", "values-regression", "-", "--output", str(output))
    assert (code, "is there already" in err) == (1, True)


def test_impossible_requests_are_explained(maas: Maas, tmp_path: Path) -> None:
    """A table for a model of images, an ending that is not known, and an option that goes with no file."""
    source = str(table(tmp_path / "x.csv", ROWS[:2].tolist()))
    for arguments, told in (
        (("image-classification", source, "--output", str(tmp_path / "a.csv")), "takes files, not rows of a table"),
        (("values-regression", source, "--output", str(tmp_path / "a.txt")), "must end with .csv or .jsonl"),
        (("values-regression", source, "--output", str(tmp_path / "a.csv"), "--top-k", "2"), "--top-k goes without"),
        (("nope", source, "--output", str(tmp_path / "a.csv")), "NOT_FOUND"),
    ):
        code, _, err = maas("predict", *arguments)
        assert (code != 0, told in " ".join(err.split())) == (True, True), err
        assert not list(tmp_path.glob("a.*"))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "has no rows"),
        (b'{"a": 1\n', "line 1 is no JSON"),
        (b"[1, 2]\n", "line 1 must be a JSON object"),
        (b'{"a": "\xff"}\n', "is not in UTF-8"),
    ],
)
def test_files_that_are_no_tables_are_refused(tmp_path: Path, content: bytes, told: str) -> None:
    """The message names the line, or the encoding."""
    path = tmp_path / "x.jsonl"
    path.write_bytes(content)
    with pytest.raises(Unusable, match=told), open_table(path, BytesIO()) as opened:
        list(opened.blocks(10))


def test_a_quote_that_is_never_closed_is_refused(tmp_path: Path) -> None:
    """It would take the rest of the file for one cell."""
    path = tmp_path / "x.csv"
    path.write_text('a,b\n1,"2\n3,4\n')
    with pytest.raises(Unusable, match="is no CSV file"), open_table(path, BytesIO()) as opened:
        list(opened.blocks(10))


def test_rows_keep_their_lines(tmp_path: Path) -> None:
    """Where cells have line breaks, and lines are empty: a row is named by the line that it ends on."""
    path = tmp_path / "x.csv"
    path.write_text('a,b\n1,2\n\n3,"x\ny"\n4,5\n\n\n6,7\n')
    with open_table(path, BytesIO()) as opened:
        found = [
            (line, row[0]) for block in opened.blocks(2) for line, row in zip(block.lines, block.rows, strict=True)
        ]
    assert found == [(2, "1"), (5, "3"), (6, "4"), (9, "6")]
