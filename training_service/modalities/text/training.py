"""Texts as training takes them: cut to a length that the training rows need, and never varied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, cast

import numpy as np
import torch

from model_store.modalities import MASK, Batch, InputSpec, Rows
from model_store.modalities.text.spec import TextInputSpec, padded_length
from training_service.arrays.records import Positions
from training_service.datasets.manifest import DatasetManifest, DatasetRow
from training_service.modalities.modality import Facts, PreparedColumn
from training_service.modalities.views import View
from training_service.recipes.recipe import Augmentation, HeadStart, Keep, Optimizer, RecipeName

AUGMENTATIONS = frozenset({Augmentation.NONE})
_ENCODER = {
    "head_start": HeadStart.RANDOM,
    "batch_size": 16,
    "learning_rate": 5e-3,
    "backbone_learning_rate_factor": 1 / 25,
    "keep": Keep.LAST,
}
RECIPES: Mapping[RecipeName, Mapping[str, Any]] = {
    # An encoder of sentences tells apart what a head has already fitted, and learns no more: on 200 articles of Reuters
    # R8 MiniLM stayed at the 0.93 of a linear probe. From a random head, at 2e-4 in the backbone, a plain loop of 12
    # epochs came to 0.95 of 400 test articles.
    RecipeName.FULL: _ENCODER,
    # Plain gradient descent hardly moves the embedding of a word that is seldom there.
    RecipeName.SCRATCH: {
        "optimizer": Optimizer.ADAMW,
        "nesterov": False,
        "learning_rate": 2e-3,
        "weight_decay": 0.01,
        "epoch_count": 30,
    },
}
"""The defaults that differ from those of images."""
OWN_BASE_RECIPES: frozenset[RecipeName | None] = frozenset()
VARIANTS_ARE = ""
VARIANTS: Mapping[str, str] = {}
_KEPT_WHOLE = 0.99
"""The share of training texts that are not cut: the longest few would make every row as long in memory."""


def preparation(spec: InputSpec) -> str:
    """Return the key of prepared rows: the tokenizer and its library, the length, and the padding."""
    own = cast("TextInputSpec", spec)
    return f"{own.tokenizer}-{own.max_tokens}-{own.padding_id}-{version('tokenizers')}"


def longest(spec: InputSpec, facts: Sequence[Mapping[str, Any]]) -> Rows:  # noqa: ARG001  the spec says it
    """Return a blank row."""
    return spec.blank()


def misfit(spec: InputSpec, about: Mapping[str, Any]) -> str:  # noqa: ARG001  every text fits
    """Return nothing: a text of any length is cut."""
    return ""


def own_base(about: Mapping[str, Any], *, trains_stages: bool) -> None:
    """Return none: only an encoder that was trained on many texts is a base."""


def variants(spec: InputSpec, facts: Sequence[Mapping[str, Any]]) -> dict[str, InputSpec]:  # noqa: ARG001  there is one
    """Return the spec."""
    return {"": spec}


def variant(spec: InputSpec, name: str) -> InputSpec:  # noqa: ARG001  as above
    """Return the spec."""
    return spec


def fitted_spec(spec: InputSpec, manifest: DatasetManifest, rows: Rows, train: Positions) -> InputSpec:  # noqa: ARG001  rows say it
    """Return the spec with the length that 99 % of the training texts need, at most its own."""
    own = cast("TextInputSpec", spec)
    if not len(train):
        return own
    lengths = rows.arrays[MASK].sum(axis=1)[train]
    needed = int(np.quantile(lengths, _KEPT_WHOLE, method="higher"))
    return own.cut(padded_length(needed, own.max_tokens))


def augmented(batch: Batch, spec: InputSpec, kind: Augmentation, generator: torch.Generator) -> Batch:  # noqa: ARG001  none is varied
    """Return the rows."""
    return spec.to_input(batch)


def viewed(batch: Batch, spec: InputSpec, view: View, position: int) -> Batch:  # noqa: ARG001  as above
    """Return the rows."""
    return spec.to_input(batch)


def columns(spec: InputSpec, manifest: DatasetManifest) -> Sequence[PreparedColumn]:  # noqa: ARG001  there are none
    """Return nothing."""
    return ()


def describe_mistake(manifest: DatasetManifest, row: DatasetRow, prepared: Rows) -> Facts:  # noqa: ARG001  tokens are no text
    """Return the beginning of a text, and its length."""
    return Facts({"text": row.facts["beginning"], "words": f"{row.facts['words']:,}"})
