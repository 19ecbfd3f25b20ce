"""What a command says of columns."""

from __future__ import annotations

from maas_client.typed.data_options import data_options


def test_a_column_of_texts_makes_a_dataset_of_texts() -> None:
    """It is the feature; the caller's own modality counts more."""
    asked = data_options("", "", ["team"], ["id"], "author", "body")
    assert asked == {
        "task": "",
        "modality": "text",
        "columns": {"id": "ignore", "author": "group", "team": "target", "body": "feature"},
    }
    assert data_options("", "table", None, None, "", "body")["modality"] == "table"
    assert data_options("", "", None, None, "")["modality"] == ""
