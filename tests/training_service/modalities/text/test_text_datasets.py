"""Texts from tables: columns by name or guess, groups, near duplicates, and what is refused or left out."""

from __future__ import annotations

import json

import grpc
import pytest
from maas.training.v1 import training_pb2 as pb

from tests.training_service.making import tar_of
from tests.training_service.running import RunningService, refused
from training_service.modalities.text.near_duplicates import group_near_duplicates, words_hash

FEATURE, TARGET, GROUP = pb.COLUMN_ROLE_FEATURE, pb.COLUMN_ROLE_TARGET, pb.COLUMN_ROLE_GROUP
IGNORED = pb.COLUMN_ROLE_IGNORED
NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def sentence(number: int) -> str:
    """Return a text that is unlike all others."""
    return " ".join(f"{NUMBERS[(number * each) % 12]}{number + each}" for each in range(1, 9))


def table(columns: str, pattern: str, num_rows: int = 30) -> bytes:
    """Return a CSV file whose rows are made of a pattern."""
    rows = [pattern.format(n=n, text=sentence(n), label="xy"[n % 2], group=n // 5) for n in range(num_rows)]
    return "\n".join([columns, *rows]).encode()


def schema(**roles: pb.ColumnRole) -> pb.Schema:
    """Return the roles of columns."""
    return pb.Schema(columns=[pb.Column(name=name, role=role) for name, role in roles.items()])


def used(dataset: pb.Dataset) -> dict[str, int]:
    """Return the roles of a dataset's columns."""
    return {column.name: column.role for column in dataset.schema.columns}


@pytest.mark.parametrize(
    ("data", "roles"),
    [
        (table("text,label", "{text},{label}"), {"text": FEATURE, "label": TARGET}),
        (table("kind;words", "{label};{text}"), {"words": FEATURE, "kind": TARGET}),
        (table("Category\tBody", "{label}\t{text}"), {"Body": FEATURE, "Category": TARGET}),
        (
            b"\n".join(json.dumps({"text": sentence(n), "label": "xy"[n % 2]}).encode() for n in range(30)),
            {"text": FEATURE, "label": TARGET},
        ),
    ],
    ids=["csv", "semicolons", "tabs", "jsonl"],
)
def test_a_table_of_sentences_is_one_of_texts(service: RunningService, data: bytes, roles: dict[str, int]) -> None:
    """The modality and the columns are found by the cells; the guess is told."""
    dataset = service.upload(data, "found")
    assert (dataset.modality, used(dataset)) == ("text", roles)
    assert any("was taken for the texts" in remark for remark in dataset.remarks)


@pytest.mark.parametrize(("codec", "said"), [("utf-16", "UTF-16"), ("utf-32", "UTF-32"), ("latin-1", "Windows-1252")])
def test_texts_in_other_encodings_are_read(service: RunningService, codec: str, said: str) -> None:
    """The encoding is told, and letters and labels are those of the file."""
    data = table("text,label", "café {text},{label}ü").decode().encode(codec)
    dataset = service.upload(data, "encoded", modality="text")
    assert any(f"the file was read as {said}" in remark for remark in dataset.remarks)
    assert (dataset.example_count, [each.label for each in dataset.labels]) == (30, ["xü", "yü"])


def test_files_in_folders_of_labels_are_texts(service: RunningService) -> None:
    """Each file is one text in UTF-8; what is none is left out, with the reason."""
    files = {f"{'xy'[n % 2]}/{n}.txt": sentence(n).encode() for n in range(30)}
    files |= {"x/empty.txt": b" ", "x/latin.txt": b"caf\xe9"}
    dataset = service.upload(tar_of(files), "folders")
    assert (dataset.modality, dataset.example_count, [each.label for each in dataset.labels]) == (
        "text",
        30,
        ["x", "y"],
    )
    reasons = {each.path: each.reason for each in dataset.rejected_files}
    assert "is empty" in reasons["x/empty.txt"]
    assert "UTF-8" in reasons["x/latin.txt"]


def test_columns_may_be_named(service: RunningService) -> None:
    """The caller's choice counts, and other columns are ignored, which a remark says."""
    data = table("title,body,id,kind", "{text},another {text},{n},{label}")
    dataset = service.upload(data, "named", modality="text", schema=schema(title=FEATURE, kind=TARGET))
    assert used(dataset) == {"title": FEATURE, "kind": TARGET, "body": IGNORED, "id": IGNORED}
    assert any("not used: 'body', 'id'" in remark for remark in dataset.remarks)


def test_a_group_stays_in_one_split(service: RunningService) -> None:
    """Texts of one author, for example."""
    data = table("text,author,label", "{text},author {group},{label}", num_rows=60)
    dataset = service.upload(data, "grouped", modality="text", schema=schema(author=GROUP, label=TARGET))
    rows = service.training.ListDatasetRows(pb.ListDatasetRowsRequest(parent=dataset.name, page_size=1000)).rows
    splits: dict[int, set[int]] = {}
    for row in rows:
        splits.setdefault((row.row_number - 1) // 5, set()).add(row.split)
    assert all(len(each) == 1 for each in splits.values())
    assert len({row.split for row in rows}) == 3


def test_texts_that_are_none_are_left_out_and_named(service: RunningService) -> None:
    """Empty ones and NUL, by row and column; equal ones once, and those of two labels not at all."""
    rows = [(sentence(n), "xy"[n % 2]) for n in range(30)]
    rows += [("  ", "x"), ("NUL\x00inside", "x"), ("half \ud800", "x"), (sentence(0), "x"), (sentence(1), "x")]
    data = "\n".join(json.dumps({"text": text, "label": label}) for text, label in rows).encode()
    dataset = service.upload(data, "odd", modality="text")
    reasons = {each.path: each.reason for each in dataset.rejected_files}
    assert "column 'text': is empty" in reasons["row 31"]
    assert "at character 3" in reasons["row 32"]
    assert "at character 5" in reasons["row 33"]
    assert "the same text as" in reasons["row 34"]
    assert dataset.example_count == 29


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (table("text,label", "{text},same"), "label"),
        (table("text,label", "{text},"), "column 'label': is empty"),
        (b"text,label\n", "no text in column"),
        (table("text", "{text}"), "no column left for the target"),
        ("text,label\ncafé,x\n".encode() + b"caf\xe9,y\n", "line 3 has bytes that are not UTF-8, and lines before it"),
        (b"text,label\n" + b"a" * 1_000_001 + b",x\n", "1000001 characters"),
    ],
    ids=["one label", "empty labels", "no rows", "one column", "two encodings", "a huge cell"],
)
def test_a_table_that_cannot_be_used_is_refused(service: RunningService, data: bytes, told: str) -> None:
    """The message names the row and the column, and nothing is registered."""
    with refused(grpc.StatusCode.INVALID_ARGUMENT, told):
        service.upload(data, "bad", modality="text")
    assert not service.training.ListDatasets(pb.ListDatasetsRequest()).datasets


def test_a_column_that_is_not_there_is_refused(service: RunningService) -> None:
    """With the columns that are."""
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "it has 'text', 'label'"):
        service.upload(table("text,label", "{text},{label}"), "bad", modality="text", schema=schema(body=FEATURE))


def test_near_duplicates_share_most_of_their_words() -> None:
    """Case, punctuation and a changed word do not hide one; other keys and other texts are apart."""
    long = " ".join(sentence(number) for number in range(12))
    texts = [long, long.upper().replace(" ", ", "), f"{long} more", sentence(50), sentence(60), long]
    keys = ["a", "a", "a", "a", "a", "b"]
    groups = group_near_duplicates(keys, [words_hash(text) for text in texts])
    assert groups[0] == groups[1] == groups[2]
    assert len({int(each) for each in groups[[0, 3, 4, 5]]}) == 4


@pytest.mark.parametrize("text", ["a", "…", "字", "\U0001f600", "x" * 100_000])
def test_every_text_has_a_hash(text: str) -> None:
    """However short or long it is."""
    assert len(words_hash(text)) == 128
    assert words_hash(text) == words_hash(text)
