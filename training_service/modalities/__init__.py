"""The modalities, the kinds of examples in training: one package each, found in one dictionary."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from torch import nn

from model_store.bases.catalogue import LoadedBase
from model_store.blobs import BlobStore
from model_store.modalities import InputSpec
from training_service.modalities import audio, image, table, text, values
from training_service.modalities.modality import StageFitter, TextBase, TrainingModality
from training_service.recipes.recipe import RecipeName

MODALITIES: Mapping[str, TrainingModality] = {
    image.KIND: image,
    values.KIND: values,
    audio.KIND: audio,
    text.KIND: text,
    table.KIND: table,
}
"""By the kind of the input spec."""
LEARNERS: Mapping[str, Callable[[InputSpec, Iterable[bytes], BlobStore], InputSpec]] = {
    text.KIND: text.learned_spec,
    table.KIND: table.uncut_spec,
}
"""What completes the input spec of a base from the bytes of training examples, before rows are prepared, by kind."""
RECIPES: Mapping[str, Mapping[RecipeName, Mapping[str, Any]]] = {text.KIND: text.RECIPES}
"""Hyperparameters of recipes that suit a modality better than the recipes' own defaults, by kind."""

BASES_WITH_TEXT: Mapping[str, Callable[[Mapping[str, Any], TextBase], LoadedBase]] = {table.KIND: table.base_with_text}
"""What makes the base for a dataset, by its summary, that reads a column of texts by another base, by kind."""
TEXT = text.KIND
STAGE_FITTERS: Mapping[type[nn.Module], StageFitter] = table.FITTERS
"""What fits a stage that is not trained by gradients, by its class."""
FEATURE_NAMES: Mapping[str, Callable[[InputSpec, Mapping[str, Any]], Sequence[str]]] = {table.KIND: table.feature_names}
"""The names of the features of bases with a stage `select`, by their spec and the architecture's arguments."""

__all__ = [
    "BASES_WITH_TEXT",
    "FEATURE_NAMES",
    "LEARNERS",
    "MODALITIES",
    "RECIPES",
    "STAGE_FITTERS",
    "TEXT",
    "TextBase",
    "TrainingModality",
]
