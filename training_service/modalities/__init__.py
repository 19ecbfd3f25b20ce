"""The modalities, the kinds of examples in training: one package each, found in one dictionary."""

from __future__ import annotations

from collections.abc import Mapping

from training_service.modalities import image, text, values
from training_service.modalities.modality import TrainingModality

MODALITIES: Mapping[str, TrainingModality] = {image.KIND: image, values.KIND: values, text.KIND: text}
"""By the kind of the input spec."""

__all__ = ["MODALITIES", "TrainingModality"]
