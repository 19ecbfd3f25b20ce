"""Images as training takes them: prepared pixels, varied in batches, and small pictures of mistakes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import PIL
import torch
from PIL import Image

from model_store.modalities import Batch, InputSpec, Rows
from model_store.modalities.image.fits import CROP, PAD, SQUASH
from model_store.modalities.image.spec import PIXELS, ImageInputSpec, mean_colour
from training_service.arrays.records import Positions
from training_service.datasets.manifest import DatasetManifest, DatasetRow
from training_service.modalities.image.augment import augmented_pixels, viewed_pixels
from training_service.modalities.modality import Picture, PreparedColumn
from training_service.modalities.views import View
from training_service.recipes.recipe import Augmentation, RecipeName

AUGMENTATIONS = frozenset(Augmentation)
OWN_BASE_RECIPES: frozenset[RecipeName | None] = frozenset()
VARIANTS_ARE = "Fit of an image to its square"
VARIANTS: Mapping[str, str] = {
    CROP: "The shorter edge is resized, and the centre is cut out: the ends of a long image are lost.",
    PAD: "The longer edge is resized to that of the square, and the rest is filled with one colour.",
    SQUASH: "Both edges are resized to those of the square: the whole image is there, and distorted.",
}
_EDGE = 144
_QUALITY = 78


def preparation(spec: InputSpec) -> str:
    """Return the key of prepared pixels: the spec but for its std, of its mean the fill of a pad, the decoder."""
    spec = cast("ImageInputSpec", spec)
    how = {
        CROP: f"{spec.resize_size}",
        PAD: f"{PAD}-{'-'.join(map(str, mean_colour(spec)))}",
        SQUASH: SQUASH,
    }[spec.fit]
    return f"{how}-{spec.crop_size}-{spec.interpolation}-reduced-pillow-{PIL.__version__}"


def own_base(about: Mapping[str, Any], *, trains_stages: bool) -> None:
    """Return none: only a network that was trained on many pictures is a base."""


def variants(spec: InputSpec, facts: Sequence[Mapping[str, Any]]) -> dict[str, InputSpec]:
    """Return the spec with each fit, its own first; of square images a pad and a squash are the same."""
    own = cast("ImageInputSpec", spec).fit
    names = dict.fromkeys((own, *VARIANTS))
    if all(each["width"] == each["height"] for each in facts):
        names.pop(SQUASH if own == PAD else PAD)
    return {name: variant(spec, name) for name in names}


def variant(spec: InputSpec, name: str) -> InputSpec:
    """Return the spec with this fit."""
    return replace(cast("ImageInputSpec", spec), fit=name)


def longest(spec: InputSpec, facts: Sequence[Mapping[str, Any]]) -> Rows:  # noqa: ARG001  the spec says it
    """Return a blank row."""
    return spec.blank()


def misfit(spec: InputSpec, about: Mapping[str, Any]) -> str:  # noqa: ARG001  images are resized
    """Return nothing: images of any size fit."""
    return ""


def fitted_spec(spec: InputSpec, manifest: DatasetManifest, rows: Rows, train: Positions) -> InputSpec:  # noqa: ARG001  takes nothing from rows
    """Return the spec: mean and deviation of the channels are the base's."""
    return spec


def augmented(batch: Batch, spec: InputSpec, kind: Augmentation, generator: torch.Generator) -> Batch:
    """Turn pixels into model inputs, varied as asked."""
    return Batch.of(augmented_pixels(batch.tensors[PIXELS], cast("ImageInputSpec", spec), kind, generator))


def viewed(batch: Batch, spec: InputSpec, view: View, position: int) -> Batch:
    """Turn pixels from this position on into model inputs as a view has them."""
    return Batch.of(viewed_pixels(batch.tensors[PIXELS], cast("ImageInputSpec", spec), view, position))


def columns(spec: InputSpec, manifest: DatasetManifest) -> Sequence[PreparedColumn]:  # noqa: ARG001  there are none
    """Return nothing."""
    return ()


def describe_mistake(manifest: DatasetManifest, row: DatasetRow, prepared: Rows) -> Picture:  # noqa: ARG001  pixels say it all
    """Return the image as the model saw it."""
    file = io.BytesIO()
    image = Image.fromarray(prepared.arrays[PIXELS][0]).resize((_EDGE, _EDGE), Image.Resampling.LANCZOS)
    image.save(file, "JPEG", quality=_QUALITY)
    return Picture(file.getvalue())
