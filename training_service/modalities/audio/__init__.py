"""Recordings: folders of labels, near duplicates by fingerprints, spectrograms to look at, and windows to train on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from training_service.datasets.files.formats import Format
from training_service.datasets.files.samples import UploadSample
from training_service.datasets.groups import Groups
from training_service.datasets.reading import Asked
from training_service.modalities.audio.near_duplicates import group_near_duplicates
from training_service.modalities.audio.reading import read_recordings as read
from training_service.modalities.audio.spectrograms import preview
from training_service.modalities.audio.summary import summarise
from training_service.modalities.audio.training import (
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

KIND = "audio"
NOUN = "recording"
LABELS_ARE = "folders of recordings, one for each label"
FORMATS = frozenset({Format.ARCHIVE})
DROPS_DUPLICATES = True
_SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff")


def takes(sample: UploadSample, asked: Asked) -> bool:  # noqa: ARG001  the files say it
    """Say whether there are files of sound."""
    return any(path.lower().endswith(_SUFFIXES) for path in sample.paths)


def near_duplicates(
    keys: Sequence[str],
    digests: Sequence[str],
    facts: Sequence[Mapping[str, Any]],
) -> Groups:
    """Group recordings of one key that sound alike."""
    milliseconds = [each["milliseconds"] for each in facts]
    return group_near_duplicates(keys, digests, [each["fingerprint"] for each in facts], milliseconds)


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
