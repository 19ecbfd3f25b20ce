"""The column of a table that holds the texts."""

from __future__ import annotations

from collections.abc import Sequence

from maas.inference.v1.inference_pb2 import Example
from maas.open_inference.v2.open_inference_pb2 import ModelInput

from maas_client.files.tables import Unusable
from maas_client.modalities.columns import Filled, places_of

_NAME = "text"


def columns_of(inputs: Sequence[ModelInput], columns: Sequence[str], chosen: Sequence[str]) -> Sequence[Filled]:
    """Return the one tensor with the chosen column, else the only one, or that of the name `text`."""
    (found,) = inputs
    if len(chosen) > 1:
        raise Unusable(f"the version takes one column of texts, not {len(chosen)}")
    if not chosen:
        alike = [name for name in columns if name.lower() == _NAME]
        chosen = list(columns) if len(columns) == 1 else alike
    if len(chosen) != 1:
        raise Unusable(f"has {len(columns)} columns: say which one has the texts by --columns")
    return [Filled(found.name, "BYTES", (), places_of(columns, chosen))]


def example_of_row(filled: Sequence[Filled], row: Sequence[str]) -> Example:
    """Return the message of a row's text."""
    return Example(text=row[filled[0].places[0]])
