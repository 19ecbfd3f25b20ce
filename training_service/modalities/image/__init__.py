"""Images: folders of labels, near duplicates by perceptual hashes, thumbnails, and augmentation in batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from training_service.datasets.files.formats import Format
from training_service.datasets.files.samples import UploadSample
from training_service.datasets.groups import Groups
from training_service.datasets.reading import Asked
from training_service.modalities.image.near_duplicates import group_near_duplicates
from training_service.modalities.image.reading import read_images as read
from training_service.modalities.image.stored_images import preview
from training_service.modalities.image.summary import summarise
from training_service.modalities.image.training import (
    AUGMENTATIONS,
    OWN_BASE_RECIPES,
    VARIANTS,
    VARIANTS_ARE,
    augmented,
    columns,
    describe_mistake,
    fitted_spec,
    longest,
    misfit,
    own_base,
    preparation,
    variant,
    variants,
    viewed,
)

KIND = "image"
NOUN = "image"
LABELS_ARE = "folders of images, one for each label"
FORMATS = frozenset({Format.ARCHIVE})
DROPS_DUPLICATES = True
_SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff")


def takes(sample: UploadSample, asked: Asked) -> bool:  # noqa: ARG001  the files say it
    """Say whether there are image files."""
    return any(path.lower().endswith(_SUFFIXES) for path in sample.paths)


def near_duplicates(keys: Sequence[str], digests: Sequence[str], facts: Sequence[Mapping[str, Any]]) -> Groups:
    """Group images of one key that look alike."""
    return group_near_duplicates(keys, digests, [each["perceptual_hash"] for each in facts])


__all__ = [
    "AUGMENTATIONS",
    "DROPS_DUPLICATES",
    "FORMATS",
    "KIND",
    "LABELS_ARE",
    "NOUN",
    "OWN_BASE_RECIPES",
    "VARIANTS",
    "VARIANTS_ARE",
    "augmented",
    "columns",
    "describe_mistake",
    "fitted_spec",
    "longest",
    "misfit",
    "near_duplicates",
    "own_base",
    "preparation",
    "preview",
    "read",
    "summarise",
    "takes",
    "variant",
    "variants",
    "viewed",
]
