"""A recipe as a person reads it: its name, then the hyperparameters that it uses, in the order of the proto."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from google.protobuf.json_format import MessageToDict
from maas.model_store.v1 import model_store_pb2

from grpc_runtime.leaf_fields import leaf_fields
from maas_client.client import Client
from maas_client.errors import NotFound
from maas_client.typed.recipes import RECIPES

_LONGEST_FIRST = sorted(map(leaf_fields, RECIPES.values()), key=len, reverse=True)
_ORDER = list(dict.fromkeys(name for fields in _LONGEST_FIRST for name in fields))
# Shown apart, or the recipe's own, whatever was chosen.
_FIXED = frozenset({"name", "reason", "remarks", "head_start", "keep", "input_choice", "base_choice"})
# Chosen while the job ran, where the caller left it to the service.
_CHOSEN = "fit"
_UNUSED = (0, "", "none")
_NEUTRAL = {"batches_per_step": 1, "stage_learning_rate_factor": 1}


def recipe_text(client: Client, version: model_store_pb2.ModelVersion) -> str:
    """Write the recipe of a version; what its job could not choose, or left at nothing, was not used."""
    values: dict[str, Any] = MessageToDict(version.lineage.recipe)
    choosable = _choosable(client, version.lineage.training_job)
    others = sorted(name for name in values if name not in _ORDER and name not in _FIXED)
    used = [name for name in _ORDER if choosable is None or name in choosable or name == _CHOSEN]
    names = [name for name in used if name in values] + others
    words = [
        f"{name}={_word(values[name])}"
        for name in names
        if values[name] not in _UNUSED and values[name] != _NEUTRAL.get(name)
    ]
    return "  ".join([str(values.get("name", "")), *words]).strip()


def remarks_of(version: model_store_pb2.ModelVersion) -> str:
    """Return what the training remarked on, as that the version is the probe that it began with."""
    return "; ".join(map(str, MessageToDict(version.lineage.recipe).get("remarks", [])))


def _choosable(client: Client, job: str) -> Collection[str] | None:
    """Return the fields that a job's recipe has; None where there is no job to ask about."""
    if not job:
        return None
    try:
        recipe = client.job(job).recipe
    except NotFound:
        return None
    settings = getattr(recipe, recipe.WhichOneof("recipe"))
    return {name for name, leaf in leaf_fields(type(settings)).items() if leaf.read(settings) is not None}


def _word(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
