"""The columns of a table as rows of numbers."""

from __future__ import annotations

from collections.abc import Sequence

from maas.open_inference.v2.open_inference_pb2 import ModelInput

from maas_client.files.tables import Unusable
from maas_client.modalities.columns import Filled, places_of


def columns_of(inputs: Sequence[ModelInput], columns: Sequence[str], chosen: Sequence[str]) -> Sequence[Filled]:
    """Return the one tensor with the chosen columns, else with all; raise Unusable where they are not as many."""
    (found,) = inputs
    places = places_of(columns, chosen) if chosen else tuple(range(len(columns)))
    if len(places) != found.dims[0]:
        hint = "" if chosen else ": say which columns to send by --columns"
        raise Unusable(f"has {len(places)} columns, and the version takes {found.dims[0]} numbers{hint}")
    return [Filled(found.name, "FP32", tuple(found.dims), places)]
