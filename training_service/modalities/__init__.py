"""The modalities, the kinds of examples in training: one package each, found in one dictionary."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from torch import nn

from model_store.blobs import BlobStore
from model_store.modalities import InputSpec
from training_service.modalities import audio, image, table, text, values
from training_service.modalities.modality import StageFitter, TrainingModality
from training_service.recipes.recipe import RecipeName

MODALITIES: Mapping[str, TrainingModality] = {
    image.KIND: image,
    values.KIND: values,
    audio.KIND: audio,
    text.KIND: text,
    table.KIND: table,
}
"""By the kind of the input spec."""
LEARNERS: Mapping[str, Callable[[InputSpec, Iterable[bytes], BlobStore], InputSpec]] = {text.KIND: text.learned_spec}
"""What completes the input spec of a base from the bytes of training examples, before rows are prepared, by kind."""
RECIPES: Mapping[str, Mapping[RecipeName, Mapping[str, Any]]] = {text.KIND: text.RECIPES}
"""Hyperparameters of recipes that suit a modality better than the recipes' own defaults, by kind."""

STAGE_FITTERS: Mapping[type[nn.Module], StageFitter] = table.FITTERS
"""What fits a stage that is not trained by gradients, by its class."""
FEATURE_NAMES: Mapping[str, Callable[[InputSpec, Mapping[str, Any]], Sequence[str]]] = {table.KIND: table.feature_names}
"""The names of the features of bases with a stage `select`, by their spec and the architecture's arguments."""

__all__ = ["FEATURE_NAMES", "LEARNERS", "MODALITIES", "RECIPES", "STAGE_FITTERS", "TrainingModality"]
