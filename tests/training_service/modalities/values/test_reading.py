"""Rows of numbers from a CSV file: what its columns mean, and which cells are refused."""

from __future__ import annotations

import io
import tempfile
import tracemalloc
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
from maas.model_store.v1 import model_store_pb2
from maas.training.v1 import training_pb2 as pb

from model_store.errors import InvalidInput
from tests.training_service.making import photos, tar_of
from tests.training_service.running import RunningService, refused, split_of
from training_service.datasets.files.formats import Format
from training_service.datasets.files.tables import Table
from training_service.datasets.packs import Spool
from training_service.datasets.reading import Asked, Reading, Received
from training_service.modalities.values.reading import read_values

INVALID = grpc.StatusCode.INVALID_ARGUMENT
Role, Column = pb.ColumnRole, pb.Column


def csv(columns: str, num_rows: int = 30, row: str = "{a},{b},{label}", separator: str = ",") -> bytes:
    """Return a CSV file whose rows are made of a pattern."""
    lines = [
        row.format(a=n * 0.5, b=n % 7, label="xy"[n % 2], number=n / 3, whole=n % 3, one=n % 2, two=n // 2 % 2, n=n)
        for n in range(num_rows)
    ]
    return "\n".join([columns, *lines]).replace(",", separator).encode()


def schema(**roles: int) -> pb.Schema:
    """Return a schema of some columns."""
    return pb.Schema(columns=[Column(name=name, role=role) for name, role in roles.items()])


def test_the_last_column_is_the_label(service: RunningService) -> None:
    """All others are features, in the file's order, and what is stored is float32."""
    dataset = service.upload(csv("a,b,kind"), "table")
    assert (dataset.modality, dataset.task) == ("values", model_store_pb2.TASK_CLASSIFICATION)
    assert [each.label for each in dataset.labels] == ["x", "y"]
    assert [(each.name, each.role, each.type) for each in dataset.schema.columns] == [
        ("a", pb.COLUMN_ROLE_FEATURE, pb.COLUMN_TYPE_NUMBER),
        ("b", pb.COLUMN_ROLE_FEATURE, pb.COLUMN_TYPE_NUMBER),
        ("kind", pb.COLUMN_ROLE_TARGET, pb.COLUMN_TYPE_TEXT),
    ]
    numbers = np.arange(30) * 0.5
    first = dataset.values.features[0]
    assert (dataset.values.feature_count, first.name, first.min, first.max) == (2, "a", 0, 14.5)
    assert (first.mean, first.standard_deviation) == pytest.approx((numbers.mean(), numbers.std()))
    found = service.training.ListDatasetRows(pb.ListDatasetRowsRequest(parent="datasets/table", page_size=1000)).rows
    assert {each.size_bytes for each in found} == {2 * 4}
    assert {(row.row_number, row.target.label) for row in found} == {(n + 1, "xy"[n % 2]) for n in range(30)}
    listed = service.training.ListDatasets(pb.ListDatasetsRequest()).datasets[0]
    assert (listed.values.feature_count, len(listed.values.features), len(listed.schema.columns)) == (2, 0, 0)


@pytest.mark.parametrize(
    ("pattern", "asked", "task"),
    [
        ("{a},{b},{number}", 0, "REGRESSION"),
        ("{a},{b},{whole}", 0, "CLASSIFICATION"),
        ("{a},{b},{whole}", model_store_pb2.TASK_REGRESSION, "REGRESSION"),
        ("{a},{b},{one}", model_store_pb2.TASK_MULTI_LABEL, "MULTI_LABEL"),
    ],
)
def test_the_task_is_asked_for_or_found(service: RunningService, pattern: str, asked: int, task: str) -> None:
    """Whole numbers are labels unless they are said to measure something, and a remark says so."""
    dataset = service.upload(csv("a,b,y", row=pattern), task=asked)
    assert dataset.task == model_store_pb2.Task.Value(f"TASK_{task}")
    guessed = "the whole numbers of column 'y' are taken for labels"
    assert any(guessed in remark for remark in dataset.remarks) is (asked == 0 and "whole" in pattern)


def test_several_targets_are_labels_or_numbers(service: RunningService) -> None:
    """0 and 1 alone are labels; the order is the file's."""
    roles = schema(one=pb.COLUMN_ROLE_TARGET, two=pb.COLUMN_ROLE_TARGET, id=pb.COLUMN_ROLE_IGNORED)
    dataset = service.upload(csv("id,two,a,one", row="{n},{two},{a},{one}"), "labels", schema=roles)
    assert [each.label for each in dataset.labels] == ["two", "one"]
    assert dataset.values.feature_count == 1
    dataset = service.upload(csv("id,two,a,one", row="{n},{number},{a},{one}"), "numbers", schema=roles)
    assert [each.name for each in dataset.targets] == ["two", "one"]
    with refused(INVALID, "has 2 target columns: classification takes one"):
        service.upload(
            csv("id,two,a,one", row="{n},{two},{a},{one}"), "no", schema=roles, task=model_store_pb2.TASK_CLASSIFICATION
        )


def test_splits_and_groups_are_columns(service: RunningService) -> None:
    """A split that is given is kept; equal cells of a group stay together, and so do rows of equal numbers."""
    service.upload(
        csv("a,split,y", row="{a},{label},{number}").replace(b",x,", b",train,").replace(b",y,", b",Test,"), "given"
    )
    assert service.training.GetDataset(pb.GetDatasetRequest(name="datasets/given")).split_counts.test == 15
    rows = "\n".join(["a,who,y", *(f"{n},person {n // 4},{'xy'[n % 2]}" for n in range(40))]).encode()
    service.upload(rows, "grouped", schema=schema(who=pb.COLUMN_ROLE_GROUP))
    found = service.training.ListDatasetRows(pb.ListDatasetRowsRequest(parent="datasets/grouped", page_size=1000)).rows
    splits = {(row.row_number - 1) // 4: set[str]() for row in found}
    for row in found:
        splits[(row.row_number - 1) // 4].add(split_of(row))
    assert all(len(each) == 1 for each in splits.values())
    assert set().union(*splits.values()) == {"train", "validation", "test"}
    twins = "\n".join(["a,b,y", *(f"{n // 2},1,{n / 3}" for n in range(40))]).encode()
    dataset = service.upload(twins, "twins")
    assert (dataset.example_count, dataset.near_duplicate_count, dataset.split_near_duplicate_count) == (40, 40, 0)
    assert "columns with the same number in every row say nothing: 'b'" in dataset.remarks


@pytest.mark.parametrize(
    ("encoding", "separator"), [("utf-8-sig", ","), ("utf-16", ";"), ("utf-8", "\t"), ("utf-8", ",")]
)
def test_files_are_read_as_programs_write_them(service: RunningService, encoding: str, separator: str) -> None:
    """With a mark of the byte order, other separators, quotes and empty lines."""
    text = csv('"a",größe,y', separator=separator).decode().replace("\n", "\r\n\r\n")
    dataset = service.upload(text.encode(encoding))
    assert [each.name for each in dataset.schema.columns] == ["a", "größe", "y"]
    assert dataset.example_count == 30


GOOD = csv("a,b,y")


@pytest.mark.parametrize(
    ("data", "texts"),
    [
        (
            GOOD.replace(b"1.5,3", b",3").replace(b"2.0,4", b"2.0,nan"),
            [
                "row 4 (line 5), column 'a': must be a number, not empty",
                "row 5 (line 6), column 'b': must be a number, not 'nan'",
            ],
        ),
        (GOOD.replace(b"1.5,3", b"1.5,Berlin"), ["row 4 (line 5), column 'b': must be a number, not 'Berlin'"]),
        (GOOD.replace(b"1.5,3", b"1e39,3"), ["row 4 (line 5), column 'a': must be a number, not '1e39'"]),
        (GOOD.replace(b"1.5,3", b"1_5,3"), ["row 4 (line 5), column 'a': must be a number"]),
        (GOOD.replace(b"1.5,3,y", b"1.5,3,"), ["row 4 (line 5), column 'y': is empty"]),
        (GOOD.replace(b"1.5,3,y", b"1.5,3"), ["row 4 (line 5) has 2 cells, and the header 3"]),
        (GOOD.replace(b"a,b,y", b"a,a,y"), ["2 columns have the name 'a'"]),
        (GOOD.replace(b"a,b,y", b"a,,y"), ["column 2 has no name"]),
        (b"y\nx\nz\n", ["must have a column of features besides the target"]),
        (b"a,b,y\n", ["has no rows below the first line"]),
        (GOOD.replace(b"1.5,3", b'"1.5"x,3'), ["cannot be read as CSV"]),
        (GOOD.replace(b"a,b,y", b"\x81,b,y"), ["save it as UTF-8"]),
        (csv("y", row="{label}").replace(b"y\n", b"y,\n", 1), ["column 2 has no name"]),
        (csv("a,b,y", num_rows=3), ["needs at least 3 different rows of each label; too few of x (2), y (1)"]),
    ],
)
def test_what_cannot_be_read_is_named(service: RunningService, data: bytes, texts: list[str]) -> None:
    """By row, line and column; several cells at once."""
    with refused(INVALID, fields=["csv"]) as caught:
        service.upload(data, modality="values")
    for text in texts:
        assert text in str(caught.value.details())


def test_a_schema_must_fit_the_file(service: RunningService) -> None:
    """The message names the column."""
    with refused(INVALID, "names a column 'price' that the file lacks; it has 'a', 'b', 'y'", fields=["schema"]):
        service.upload(GOOD, schema=schema(price=pb.COLUMN_ROLE_TARGET))
    wide = "".join(f"c{number}," for number in range(12)) + "price\n"
    with refused(INVALID, "'c9' and 3 more; do you mean 'price'?", fields=["schema"]):
        service.upload(wide.encode(), schema=schema(prize=pb.COLUMN_ROLE_TARGET))
    with refused(INVALID, "names 2 columns for group", fields=["schema"]):
        service.upload(GOOD, schema=schema(a=pb.COLUMN_ROLE_GROUP, b=pb.COLUMN_ROLE_GROUP))
    with refused(INVALID, fields=["modality"]):
        service.upload(GOOD, modality="image")
    with refused(INVALID, fields=["modality"]):
        service.upload(tar_of(photos(4)), modality="values")
    with refused(INVALID, "must be one of image, values, audio, text, table, not 'pictures'", fields=["modality"]):
        service.upload(GOOD, modality="pictures")
    with refused(INVALID, fields=["schema"]):
        service.upload(tar_of(photos(4)), schema=schema(a=pb.COLUMN_ROLE_TARGET))


def test_rows_are_appended_by_the_parents_columns(service: RunningService) -> None:
    """Wherever these stand; equal rows are kept, in the split of the first."""
    service.upload(csv("a,b,y"), "table")
    before = service.training.ListDatasetRows(pb.ListDatasetRowsRequest(parent="datasets/table", page_size=1000)).rows
    child = service.upload(csv("y,c,b,a", row="{label},9,{b},{a}"), "more", parent="datasets/table")
    assert (child.example_count, child.near_duplicate_count, child.split_near_duplicate_count) == (60, 60, 0)
    assert child.values.features[0].mean == pytest.approx(7.25)
    rows = service.training.ListDatasetRows(pb.ListDatasetRowsRequest(parent="datasets/more", page_size=1000)).rows
    kept = Counter((row.sha256, row.split) for row in rows)
    assert all(kept[row.sha256, row.split] == 2 for row in before)
    with refused(INVALID, "has no column 'b', which the parent has"):
        service.upload(csv("a,c,y"), "other", parent="datasets/table")
    with refused(INVALID, fields=["modality"]):
        service.upload(GOOD, "other", parent="datasets/table", modality="image")


def test_a_preview_has_the_numbers(service: RunningService) -> None:
    """As many of each label."""
    service.upload(csv("a,b,y"), "table")
    rows = service.training.PreviewDataset(pb.PreviewDatasetRequest(name="datasets/table", example_count=6)).rows
    assert Counter(each.row.target.label for each in rows) == {"x": 3, "y": 3}
    for each in rows:
        number = each.row.row_number - 1
        assert list(each.numbers.values) == [number * 0.5, number % 7]


def test_equal_tables_make_equal_datasets(service: RunningService) -> None:
    """Whatever separates their cells."""
    digest = service.upload(csv("a,b,y"), "one").digest
    assert service.upload(csv("a,b,y", separator=";"), "two").digest == digest
    assert io.BytesIO(csv("a,b,y")).readline() == b"a,b,y\n"


def test_a_table_is_read_without_holding_its_text() -> None:
    """The numbers go to the spool; kept as text, they would take many times the memory of the whole file."""
    num_rows, columns = 300, [f"c{n}" for n in range(500)]
    line = ",".join(f"{n / 7:.6f}" for n in range(len(columns)))
    lines = [",".join([*columns, "y"]), *(f"{line},{n}.5" for n in range(num_rows))]
    text = "\n".join(lines).encode()
    with tempfile.TemporaryFile() as spooled, ThreadPoolExecutor(1) as threads:
        received = Received(Format.CSV, table=io.BytesIO(text))
        reading = Reading(received, Asked(), Spool(spooled), [], threads, 10**6, lambda: None)
        tracemalloc.start()
        try:
            found = read_values(reading)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert (len(found.examples), found.task) == (num_rows, "regression")
    assert peak < len(text)


def test_a_line_that_never_ends_is_refused() -> None:
    """It is not read into memory, however long it is."""
    for text in (b"a,b" * 6_000_000, b"a,b\n" + b"1,2" * 6_000_000):
        with pytest.raises(InvalidInput, match="a line has over 16777216 characters"):
            list(Table(io.BytesIO(text)).rows())


def test_targets_that_float32_cannot_tell_apart_are_refused(service: RunningService) -> None:
    """Training would see one number in every row: moments of one minute in seconds, say."""
    with refused(INVALID, "has the same number, to seven digits, in every row to train on for 'at'"):
        service.upload(csv("a,b,at", row="{a},{b},170000000{one}.0"), "moments", task=model_store_pb2.TASK_REGRESSION)


def test_a_first_row_of_numbers_is_remarked_on(service: RunningService) -> None:
    """It may be data: the file then has no names of columns."""
    dataset = service.upload(csv("1.5,2,151.0", row="{a},{b},{number}"), "headless")
    assert any("the first row, 1.5, 2, 151.0, was taken for the names" in remark for remark in dataset.remarks)


def test_a_single_label_of_several_is_remarked_on(service: RunningService) -> None:
    """Without a word of the caller the last column alone is the target."""
    dataset = service.upload(
        csv("a,b,one,two", row="{a},{b},{one},{two}"), "single", task=model_store_pb2.TASK_MULTI_LABEL
    )
    assert any("column 'two' is the only label" in remark for remark in dataset.remarks)
