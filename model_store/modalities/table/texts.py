"""The column of texts of a table: how a manifest says the way it is read, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from model_store.modalities.checks import check
from model_store.modalities.text.spec import KIND, TextInputSpec

TOKENS_PER_COST = 2
"""A batch of a table has as many rows as half a batch of texts has tokens, by the limits of both modalities."""
_TEXT, _FILES = "text", "files"


def text_entries(text: TextInputSpec) -> dict[str, Any]:
    """Return the entries of a table's input spec that say how its texts are read; `files` is where a store looks."""
    entries = text.to_json()
    del entries["kind"]
    return {_FILES: entries.pop(_FILES), _TEXT: entries}


def text_of_entries(values: Mapping[str, Any]) -> TextInputSpec | None:
    """Read the entries, None where there are none; raise InvalidManifest naming the wrong field."""
    if _TEXT not in values:
        return None
    entries = values[_TEXT]
    check(isinstance(entries, dict) and not {"kind", _FILES} & entries.keys(), _TEXT, "must be an object")
    text = TextInputSpec.from_json({**entries, "kind": KIND, _FILES: values.get(_FILES)})
    check(bool(text.tokenizer), f"{_FILES}.tokenizer", "is missing")
    return text
