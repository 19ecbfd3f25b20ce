"""Files with the kind of each column of a table."""

from __future__ import annotations

from pathlib import Path

import pytest
from maas.training.v1 import training_pb2 as pb

from maas_client.errors import InvalidArgument
from maas_client.typed.data_options import data_options
from maas_client.typed.table_schemas import kinds_of, read_schema, schema_message

KINDS = {
    "age": "numeric",
    "plan": "categorical",
    "paid": "boolean",
    "since": "date",
    "note": "text",
    "churn": "target",
    "part": "split",
    "house": "group",
    "id": "ignore",
}


def test_kinds_are_uses_and_types_of_columns() -> None:
    """A kind that is a type is one of a feature."""
    message = schema_message(KINDS)
    assert message is not None
    assert message.columns[1] == pb.Column(name="plan", role=pb.COLUMN_ROLE_FEATURE, type=pb.COLUMN_TYPE_CATEGORY)
    assert message.columns[5] == pb.Column(name="churn", role=pb.COLUMN_ROLE_TARGET)
    assert kinds_of(message) == KINDS
    assert schema_message({}) is None
    with pytest.raises(InvalidArgument, match="column 'age' cannot be 'ignored': a column is one of numeric"):
        schema_message({"age": "ignored"})


def test_text_that_a_table_ignores_is_shown_as_text() -> None:
    """Another column that it ignores is not."""
    ignored = pb.COLUMN_ROLE_IGNORED
    columns = [pb.Column(name="note", role=ignored, type=pb.COLUMN_TYPE_TEXT), pb.Column(name="id", role=ignored)]
    assert kinds_of(pb.Schema(columns=columns)) == {"note": "text", "id": "ignore"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"age": "numbers"}', "column 'age' has no kind 'numbers': there are .*; do you mean numeric"),
        ('{"age": 1}', "column 'age' has no kind '1': there are numeric, "),
        ('{"age": "numeric", " age": "date"}', "names the column 'age' twice"),
        ('["age"]', "must hold one object with a kind for each column"),
        ('{"age": "numeric",}', "is no JSON file: .* line 1 column"),
        ("[" * 100_000, "is no JSON file"),
    ],
)
def test_a_file_that_is_no_schema_is_refused(tmp_path: Path, text: str, why: str) -> None:
    """The refusal names the column."""
    file = tmp_path / "schema.json"
    file.write_text(text)
    with pytest.raises(InvalidArgument, match=rf"schema\.json.*{why}"):
        read_schema(file)


def test_an_option_counts_more_than_the_file(tmp_path: Path) -> None:
    """Other columns stay as the file has them."""
    file = tmp_path / "schema.json"
    file.write_text('{"id": "numeric", "cafe\\u0301": "date"}')
    asked = data_options("", "", ["churn"], ["id"], "", schema=file)
    assert asked["columns"] == {"id": "ignore", "caf\u00e9": "date", "churn": "target"}
