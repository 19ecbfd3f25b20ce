"""Images as training takes them: prepared pixels, varied in batches, and small pictures of mistakes."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any, cast

import PIL
import torch
from PIL import Image

from model_store.modalities import Batch, InputSpec, Rows
from model_store.modalities.image.spec import PIXELS, ImageInputSpec
from training_service.arrays.records import Positions
from training_service.datasets.manifest import DatasetManifest, DatasetRow
from training_service.modalities.image.augment import augmented_pixels, viewed_pixels
from training_service.modalities.modality import Picture
from training_service.modalities.views import View
from training_service.recipes.recipe import Augmentation

AUGMENTATIONS = frozenset(Augmentation)
_EDGE = 144
_QUALITY = 78


def preparation(spec: InputSpec) -> str:
    """Return the key of prepared pixels: the decoder belongs to it, the spec's mean and std do not."""
    spec = cast("ImageInputSpec", spec)
    return f"{spec.resize_size}-{spec.crop_size}-{spec.interpolation}-reduced-pillow-{PIL.__version__}"


def misfit(spec: InputSpec, about: Mapping[str, Any]) -> str:  # noqa: ARG001  images are resized
    """Return nothing: images of any size fit."""
    return ""


def fitted_spec(spec: InputSpec, rows: Rows, train: Positions) -> InputSpec:  # noqa: ARG001  takes nothing from rows
    """Return the spec: mean and deviation of the channels are the base's."""
    return spec


def augmented(batch: Batch, spec: InputSpec, kind: Augmentation, generator: torch.Generator) -> Batch:
    """Turn pixels into model inputs, varied as asked."""
    return Batch.of(augmented_pixels(batch.tensors[PIXELS], cast("ImageInputSpec", spec), kind, generator))


def viewed(batch: Batch, spec: InputSpec, view: View, position: int) -> Batch:
    """Turn pixels from this position on into model inputs as a view has them."""
    return Batch.of(viewed_pixels(batch.tensors[PIXELS], cast("ImageInputSpec", spec), view, position))


def describe_mistake(manifest: DatasetManifest, row: DatasetRow, prepared: Rows) -> Picture:  # noqa: ARG001  pixels say it all
    """Return the image as the model saw it."""
    file = io.BytesIO()
    image = Image.fromarray(prepared.arrays[PIXELS][0]).resize((_EDGE, _EDGE), Image.Resampling.LANCZOS)
    image.save(file, "JPEG", quality=_QUALITY)
    return Picture(file.getvalue())
