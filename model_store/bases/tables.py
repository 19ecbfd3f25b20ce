"""Bases for rows of a table: made for a schema, unfitted; the first training fits their preprocessing to its rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from model_store.architectures import Head, build_random
from model_store.bases.catalogue import LoadedBase
from model_store.modalities.table.spec import TableInputSpec

TABLE, TABLE_MLP = "table", "table_mlp"


def load_table(spec: TableInputSpec, indicators: Sequence[int] = (), widths: Sequence[int] = ()) -> LoadedBase:
    """Build the preprocessing for a schema, and behind it, with `widths`, a network that begins at random.

    `indicators` are the places of the numbers whose absence is a feature. Equal arguments give equal weights. Raise
    InvalidManifest where there would be too many features.
    """
    arguments: dict[str, Any] = {
        "numbers": len(spec.number_columns),
        "indicators": list(indicators),
        "dates": list(spec.date_places),
        "categories": [each.num_categories for each in spec.category_columns],
    }
    architecture = TABLE
    if widths:
        architecture = TABLE_MLP
        arguments |= {"widths": list(widths), "scaling": "quantile"}
    head = Head("none")
    chain = build_random(architecture, arguments, head, 0)
    return LoadedBase(
        architecture=architecture,
        arguments=arguments,
        chain=chain.eval(),
        head=head,
        input_spec=spec,
        labels=(),
        origin={"source": "schema"},
    )
