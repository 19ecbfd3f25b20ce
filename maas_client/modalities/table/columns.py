"""The columns of a table by their names."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.struct_pb2 import Value
from maas.inference.v1.inference_pb2 import Example, Row
from maas.open_inference.v2.open_inference_pb2 import TYPE_STRING, ModelInput

from maas_client.modalities.columns import Filled, places_of


def columns_of(inputs: Sequence[ModelInput], columns: Sequence[str], _: Sequence[str]) -> Sequence[Filled]:
    """Return each tensor with the column of its name; raise Unusable naming one that is not there."""
    places = places_of(columns, [each.name for each in inputs])
    types = ["BYTES" if each.data_type == TYPE_STRING else "FP32" for each in inputs]
    return [
        Filled(each.name, datatype, tuple(each.dims), (place,), may_be_missing=True)
        for each, datatype, place in zip(inputs, types, places, strict=True)
    ]


def example_of_row(filled: Sequence[Filled], row: Sequence[str]) -> Example:
    """Return the message of a row: the version reads the texts of its cells."""
    return Example(row=Row(cells={each.name: Value(string_value=row[each.places[0]]) for each in filled}))
