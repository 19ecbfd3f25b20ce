"""What a dataset of many rows takes of memory, and the stored form of its manifest."""

from __future__ import annotations

import hashlib
import tracemalloc
from collections import Counter
from dataclasses import asdict, replace

import numpy as np
import pytest

from model_store.errors import DamagedStore
from model_store.manifests import canonical_json
from model_store.tasks import Classification
from training_service.datasets.columnar.columns import NO_FACTS, FactColumn
from training_service.datasets.columnar.digests import Digests
from training_service.datasets.columns import Column, ColumnRole, ColumnType
from training_service.datasets.examples import Example, Examples
from training_service.datasets.groups import of_equal
from training_service.datasets.manifest import DatasetManifest, DatasetRow, RowColumns, Target
from training_service.datasets.splits import Split, SplitSpec, assign_splits
from training_service.datasets.targets.counts import label_counts
from training_service.modalities.table.facts import ColumnFacts

PACK = "ab" * 32


def manifest_of(num_rows: int, calibration: str = "") -> DatasetManifest:
    """Return the manifest of a table."""
    rows = RowColumns.of(
        DatasetRow("", number, number % 2, Split.TRAIN, PACK, 10 * number, 10, digest(number), {"ü": number})
        for number in range(num_rows)
    )
    columns = (Column("x", ColumnType.NUMBER, ColumnRole.FEATURE),)
    return DatasetManifest("table", Classification(("no", "yes")), SplitSpec(), columns, rows, calibration)


def digest(number: int) -> str:
    """Return the digest of a row."""
    return hashlib.sha256(b"%d" % number).hexdigest()


TARGETS: list[list[Target]] = [[0, 1, 0], [(0, 2), (), (1,)], [(0.5, -1.0), (1 / 3, 2.0), (0.0, 1e-9)]]


@pytest.mark.parametrize("targets", TARGETS)
@pytest.mark.parametrize("path", ["", "ü/1.png"])
def test_rows_of_any_task_are_read_as_they_were_written(targets: list[Target], path: str) -> None:
    """Texts and facts too, of rows that have some."""
    rows = [
        DatasetRow(path, 7, target, split, f"{place:064}", 2**40, 5, digest(place), {"x": 1.5} if path else {}, path)
        for place, (target, split) in enumerate(zip(targets, Split, strict=True))
    ]
    manifest = replace(manifest_of(0, PACK), rows=RowColumns.of(rows))
    read = DatasetManifest.read(b"".join(manifest.parts()))
    assert read == manifest
    assert list(read.rows) == rows
    assert list(read.rows.facts) == [row.facts for row in rows]
    assert read.packs == tuple(f"{place:064}" for place in range(3))
    assert read.rows.positions(Split.TEST).tolist() == [2]


def test_a_dataset_without_rows_is_read() -> None:
    """As any other."""
    assert DatasetManifest.read(b"".join(manifest_of(0).parts())) == manifest_of(0)


@pytest.mark.parametrize("calibration", ["", PACK])
def test_a_manifest_of_an_earlier_release_is_read(calibration: str) -> None:
    """It is canonical JSON with an object for each row."""
    manifest = manifest_of(5, calibration)
    values = {
        "format": 2,
        "modality": "table",
        "task": manifest.task.to_json(),
        "split": manifest.split.to_json(),
        "columns": [each.to_json() for each in manifest.columns],
        "rows": [asdict(each) for each in manifest.rows],
        **({"calibration": calibration} if calibration else {}),
    }
    assert DatasetManifest.read(canonical_json(values)) == manifest
    with pytest.raises(DamagedStore, match="has format 9"):
        DatasetManifest.read(canonical_json({**values, "format": 9}))


def test_a_manifest_is_written_and_read_without_a_copy_of_its_rows() -> None:
    """Columns are written from where they are, and stay in the memory that they are read in."""
    manifest = manifest_of(20_000)
    manifest = replace(manifest, rows=replace(manifest.rows, facts=FactColumn.of(None, len(manifest.rows))))
    tracemalloc.start()
    data = b"".join(manifest.parts())
    read = DatasetManifest.read(data)
    label_counts(manifest.task.names, read.rows)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(data) < 80 * len(read.rows)
    assert peak < 2 * len(data)


def test_examples_take_an_array_of_each_column() -> None:
    """Objects took 400 bytes each."""
    digests = [digest(each) for each in range(20_000)]
    tracemalloc.start()
    examples = Examples(
        Example("", number, "no", None, 0, 9, each, NO_FACTS) for number, each in enumerate(reversed(digests))
    )
    examples.sort()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 170 * len(digests)
    assert examples.numbers.tolist() == list(range(len(digests)))
    assert examples[3] == Example("", 3, "no", None, 0, 9, digests[-4], NO_FACTS)


def test_splits_of_many_rows_take_little_memory() -> None:
    """A list for each unit, and a rank of bytes for each row, took 400 bytes a row."""
    digests = Digests.of(digest(each) for each in range(20_000))
    groups = np.arange(len(digests))
    tracemalloc.start()
    splits = assign_splits(digests, SplitSpec(), groups=groups)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert Counter(splits) == {Split.TRAIN: 12_000, Split.VALIDATION: 3_000, Split.TEST: 5_000}
    assert peak < 150 * len(digests)


@pytest.mark.parametrize("rare", ["path", "group", "facts"])
def test_examples_may_have_what_few_of_them_have(rare: str) -> None:
    """The others have none, before and behind them."""
    value = {"x": 1} if rare == "facts" else "b"
    plain = [Example("", number, "no", None, 0, 9, digest(number), NO_FACTS) for number in range(3)]
    written = [plain[0], replace(plain[1], **{rare: value}), plain[2]]
    examples = Examples(written)
    assert list(examples) == written
    examples.sort()
    assert sorted(examples, key=lambda each: each.number) == written
    assert [each.path for each in examples] == sorted(each.path for each in written)


def test_equal_rows_have_the_number_of_the_first() -> None:
    """Rows that differ have their own."""
    assert of_equal([digest(each) for each in (3, 1, 3, 2, 1, 3)]).tolist() == [0, 1, 0, 3, 1, 0]
    assert of_equal([]).tolist() == []


def test_equal_rows_are_found_in_little_memory() -> None:
    """Digests are compared as numbers: as text they took 800 bytes a row."""
    digests = [digest(each) for each in range(20_000)]
    tracemalloc.start()
    of_equal(digests)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 250 * len(digests)


def test_texts_of_numbers_with_decimals_are_not_all_counted() -> None:
    """Whole numbers are: a column of them may number the rows."""
    assert ColumnFacts.of([f"{each}.5" for each in range(10_001)]).counts is None
    assert ColumnFacts.of([f"{each}" for each in range(10_001)]).num_distinct == 10_001
