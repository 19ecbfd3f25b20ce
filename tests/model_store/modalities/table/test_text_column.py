"""A column of texts beside others: cells become tokens, and all else about rows holds as it does without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_store.blobs.local import LocalBlobs
from model_store.errors import InvalidExample, InvalidManifest
from model_store.modalities import Rows, load_input_spec, prepared, read_input_spec
from model_store.modalities.table import spec as table
from model_store.modalities.table.columns import CellKind, TableColumn
from model_store.modalities.table.spec import TableInputSpec
from model_store.modalities.table.texts import TOKENS_PER_COST
from model_store.modalities.text import spec as text
from tests.model_store.text_models import text_spec, tokenizer_json
from tests.model_store.text_tables import ROWS, SPEC


def test_the_form_in_a_manifest_is_read_back(tmp_path: Path) -> None:
    """With its tokenizer, which is a file in the store."""
    assert read_input_spec(SPEC.to_json()) == SPEC
    assert SPEC.to_json()["files"] == {"tokenizer": text_spec().tokenizer}
    with pytest.raises(ValueError, match="without its tokenizer"):
        prepared(read_input_spec(SPEC.to_json()), ROWS, 100)
    blobs = LocalBlobs(tmp_path)
    blobs.put([tokenizer_json()])
    found = prepared(load_input_spec(SPEC.to_json(), blobs), ROWS, 100)
    np.testing.assert_array_equal(found.arrays["ids"], prepared(SPEC, ROWS, 100).arrays["ids"])


def test_a_text_becomes_tokens() -> None:
    """As the encoder's own spec has them; a missing one is the empty text, of the special tokens alone."""
    rows = prepared(SPEC, ROWS, 100)
    own = text_spec()
    wanted = own.collate([own.prepared(str(row.get("body", ""))) for row in ROWS])
    np.testing.assert_array_equal(rows.arrays["ids"], wanted.arrays["ids"])
    np.testing.assert_array_equal(rows.arrays["mask"], wanted.arrays["mask"])
    assert rows.arrays["mask"].sum(axis=1).tolist() == [7, 13, 2]
    alone = prepared(SPEC.without_text, [{k: v for k, v in row.items() if k != "body"} for row in ROWS], 100)
    for name, array in alone.arrays.items():
        np.testing.assert_array_equal(rows.arrays[name], array)


@pytest.mark.parametrize(("cell", "same"), [(" NA ", ""), (float("nan"), ""), (7.0, "7"), (True, "true")])
def test_other_cells_are_texts_too(cell: object, same: str) -> None:
    """As they are categories: missing ones are empty."""
    found = prepared(SPEC, [{"body": cell}], 100)
    np.testing.assert_array_equal(found.arrays["ids"], text_spec().prepared(same).arrays["ids"])


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("a\0b", "column 'body' has '.x00' at character 1, which is no text"),
        ("x" * 1_000_001, "column 'body' 1000001 characters are over the limit of 1000000"),
        (["sea"], "column 'body' must be a text, not"),
    ],
)
def test_a_cell_that_is_no_text_is_refused_by_its_column(cell: object, message: str) -> None:
    """Before it reaches the tokenizer."""
    with pytest.raises(InvalidExample, match=message):
        prepared(SPEC, [{"body": cell}], 100)


def test_rows_share_a_batch_by_their_length_and_number_of_columns() -> None:
    """Whatever their columns are: the encoder runs once over rows of several schemas."""
    short, long, _ = (SPEC.open(row, 100).prepare() for row in ROWS)
    other = TableInputSpec((TableColumn("a", CellKind.NUMBER), TableColumn("b", CellKind.TEXT)), text_spec())
    assert SPEC.form(short) != SPEC.form(long)
    assert SPEC.form(short) != other.form(short)
    assert SPEC.device_key == other.device_key != SPEC.without_text.device_key
    assert (SPEC.cost(short), SPEC.cost(long)) == (8 // TOKENS_PER_COST, 16 // TOKENS_PER_COST)
    assert text.LIMITS.batch_cost == table.LIMITS.batch_cost * TOKENS_PER_COST


def test_rows_are_stored_and_read() -> None:
    """All tensors, each checked as its own modality does it."""
    rows = prepared(SPEC, ROWS, 100)
    blob = SPEC.to_blob(rows)
    found = SPEC.from_blob(blob, 10)
    for name, array in rows.arrays.items():
        np.testing.assert_array_equal(found.arrays[name], array)
    for wrong, message in (
        ({**blob, "ids": blob["ids"] + 20}, "must be ids below 20"),
        ({**blob, "categories": blob["categories"] + 9}, "must be indices"),
        ({name: each for name, each in blob.items() if name != "mask"}, "must have two tensors"),
        ({**blob, "numbers": blob["numbers"][:1], "categories": blob["categories"][:1]}, "must be 3 rows each, not 1"),
        ({**blob, "more": blob["ids"]}, "must have the tensors"),
    ):
        with pytest.raises(InvalidManifest, match=message):
            SPEC.from_blob(wrong, 10)
    blank = SPEC.blank()
    assert blank.form == SPEC.from_blob(SPEC.to_blob(blank), 1).form


def test_tensors_are_cells_by_column() -> None:
    """A request's numbers and texts; NaN and empty texts are missing."""
    forms = {form.name: (form.dtype, form.shape) for form in SPEC.tensors()}
    assert forms == {"price": ("float32", (1,)), **dict.fromkeys(("body", "plan", "since"), ("bytes", (1,)))}
    sent = {
        "price": np.array([[3.5], [np.nan], [-1]], np.float32),
        **{
            name: np.array([[str(row.get(name, "")).encode()] for row in ROWS], object)
            for name in ("body", "plan", "since")
        },
    }
    found = SPEC.read_tensors(sent)
    assert not isinstance(found, Rows)
    rows, wanted = prepared(SPEC, found, 100), prepared(SPEC, ROWS, 100)
    for name, array in wanted.arrays.items():
        np.testing.assert_array_equal(rows.arrays[name], array)
    with pytest.raises(InvalidExample, match="column 'body' must be texts in UTF-8"):
        SPEC.read_tensors({**sent, "body": np.array([[b"\xff"]] * 3, object)})


def entries(**changed: Any) -> dict[str, Any]:
    """Return the manifest's form with changes; None takes an entry away."""
    return {name: each for name, each in {**SPEC.to_json(), **changed}.items() if each is not None}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (entries(text=None), "files is unknown"),
        (entries(text=None, files=None), "columns must have one of type text"),
        (entries(files={}), r"files\.tokenizer is missing"),
        (entries(text={"max_tokens": 3}), "padding_id is missing"),
        (entries(text={**SPEC.to_json()["text"], "kind": "text"}), "text must be an object"),
        (entries(columns=[{"name": "a", "type": "number"}]), "columns must have one of type text"),
        (entries(columns=[{"name": "a", "type": "text"}]), "columns must have another column"),
        (entries(columns=[{"name": each, "type": "text"} for each in "ab"]), "columns must have one of type text"),
        (entries(columns=[{"name": "a", "type": "text", "categories": []}]), "must have no other fields"),
    ],
)
def test_a_wrong_form_is_refused_by_its_field(values: dict[str, Any], message: str) -> None:
    """A column of texts and the way to read it go together."""
    with pytest.raises(InvalidManifest, match=message):
        read_input_spec(values)
