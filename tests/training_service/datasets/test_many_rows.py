"""What a dataset of many rows takes of memory, and the canonical form of its manifest."""

from __future__ import annotations

import hashlib
import tracemalloc

import pytest

from model_store.manifests import canonical_json
from model_store.tasks import Classification
from training_service.datasets import manifest as manifests
from training_service.datasets.columns import Column, ColumnRole, ColumnType
from training_service.datasets.groups import of_equal
from training_service.datasets.manifest import DatasetManifest, DatasetRow
from training_service.datasets.splits import Split, SplitSpec
from training_service.modalities.table.facts import ColumnFacts

PACK = "ab" * 32


def manifest_of(num_rows: int, calibration: str = "") -> DatasetManifest:
    """Return the manifest of a table."""
    rows = tuple(
        DatasetRow("", number, number % 2, Split.TRAIN, PACK, 10 * number, 10, digest(number), {"ü": number})
        for number in range(num_rows)
    )
    columns = (Column("x", ColumnType.NUMBER, ColumnRole.FEATURE),)
    return DatasetManifest("table", Classification(("no", "yes")), SplitSpec(), columns, rows, calibration)


def digest(number: int) -> str:
    """Return the digest of a row."""
    return hashlib.sha256(b"%d" % number).hexdigest()


@pytest.mark.parametrize("num_rows", [0, 1, 4, 5])
@pytest.mark.parametrize("calibration", ["", PACK])
def test_the_parts_of_a_manifest_are_its_canonical_json(
    num_rows: int, calibration: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many rows go into a part; the digest of a dataset is that of earlier releases."""
    monkeypatch.setattr(manifests, "_ROWS_AT_ONCE", 2)
    manifest = manifest_of(num_rows, calibration)
    values = {
        "format": 2,
        "modality": "table",
        "task": manifest.task.to_json(),
        "split": manifest.split.to_json(),
        "columns": [each.to_json() for each in manifest.columns],
        "rows": [each.to_json() for each in manifest.rows],
        **({"calibration": calibration} if calibration else {}),
    }
    written = b"".join(manifest.json_parts())
    assert written == canonical_json(values)
    assert DatasetManifest.from_json(written) == manifest


def test_a_manifest_is_written_without_a_copy_of_all_rows() -> None:
    """One part at a time is in memory."""
    manifest = manifest_of(20_000)
    tracemalloc.start()
    size = sum(map(len, manifest.json_parts()))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < size / 4


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
