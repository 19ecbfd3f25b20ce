"""Rows with a text beside other columns, and a base for them over the tiny encoder."""

from __future__ import annotations

from model_store.architectures import Chain
from model_store.bases.base import LoadedBase
from model_store.bases.tables import load_table_text
from model_store.manifests import Manifest, ManifestStage
from model_store.modalities.table.columns import CellKind, TableColumn
from model_store.modalities.table.spec import TableInputSpec
from tests.model_store.text_models import text_base, text_spec

COLUMNS = (
    TableColumn("price", CellKind.NUMBER),
    TableColumn("body", CellKind.TEXT),
    TableColumn("plan", CellKind.CATEGORY, ("basic", "pro")),
    TableColumn("since", CellKind.DATE),
)
SPEC = TableInputSpec(COLUMNS, text_spec())
ROWS: list[dict[str, object]] = [
    {"price": 3.5, "body": "ships sail over the sea", "plan": "pro", "since": "2026-01-31"},
    {"price": None, "body": "wheat grows in a field in the rain in the wind", "plan": "other"},
    {"price": -1.0, "since": "2025-02-28T12:00"},
]
NUM_FEATURES = 1 + 1 + 1 + 5 + 4
"""The price, whether it is missing, the date and its parts, and the plan: missing, basic, pro, any other."""


def encoder(seed: int = 0) -> tuple[Manifest, Chain]:
    """Return the manifest of the tiny encoder, each digest another one, and its chain."""
    base = text_base(seed=seed)
    names = base.chain.stage_names
    return base.manifest([ManifestStage(name, f"{place:064x}") for place, name in enumerate(names)]), base.chain


def table_base() -> LoadedBase:
    """Return a base for the rows, whose stages of the encoder have no numbers."""
    return load_table_text(SPEC, [0], encoder()[0])
