"""Bases for rows of a table: made for a schema, unfitted; the first training fits their preprocessing to its rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from model_store.architectures import Head, borrowed_stages, build, build_random
from model_store.architectures.table_stages import Select
from model_store.bases.catalogue import LoadedBase
from model_store.manifests import Manifest
from model_store.modalities.table.spec import TableInputSpec

TABLE, TABLE_MLP, TABLE_TEXT = "table", "table_mlp", "table_text"


def load_table(spec: TableInputSpec, indicators: Sequence[int] = (), widths: Sequence[int] = ()) -> LoadedBase:
    """Build the preprocessing for a schema, and behind it, with `widths`, a network that begins at random.

    `indicators` are the places of the numbers whose absence is a feature. Equal arguments give equal weights. Raise
    InvalidManifest where there would be too many features.
    """
    arguments = _arguments(spec, indicators)
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


def load_table_text(spec: TableInputSpec, indicators: Sequence[int], encoder: Manifest) -> LoadedBase:
    """Build the preprocessing for a schema with a column of texts, behind the stages of an encoder in the store.

    These keep their digests, and have no numbers in the chain. Raise InvalidManifest for a version that is no encoder
    of the BERT family, and where there would be too many features.
    """
    of_text = {"name": encoder.architecture, "arguments": dict(encoder.arguments)}
    arguments = {**_arguments(spec, indicators), "text": of_text}
    head = Head("none")
    chain = build(TABLE_TEXT, arguments, head)
    of_table = load_table(spec.without_text, indicators).chain
    borrowed = borrowed_stages(TABLE_TEXT, arguments)
    for name, stage in chain.backbone:
        if isinstance(stage, Select):
            chain.load_stage(name, Select(chain.embedding_size).state_dict())
        elif name not in borrowed and stage.state_dict():
            chain.load_stage(name, of_table.stage_tensors(name))
    return LoadedBase(
        architecture=TABLE_TEXT,
        arguments=arguments,
        chain=chain.eval(),
        head=head,
        input_spec=spec,
        labels=(),
        origin={"source": "schema"},
        stored={stage.name: stage.digest for stage in encoder.stages if stage.name in borrowed},
    )


def _arguments(spec: TableInputSpec, indicators: Sequence[int]) -> dict[str, Any]:
    return {
        "numbers": len(spec.number_columns),
        "indicators": list(indicators),
        "dates": list(spec.date_places),
        "categories": [each.num_categories for each in spec.category_columns],
    }
