"""Recordings as training takes them: the windows of each, varied in loudness where that is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, cast

import numpy as np
import torch

from model_store.bases.catalogue import LoadedBase, load_random
from model_store.modalities import MASK, Batch, InputSpec, Rows
from model_store.modalities.audio.spec import WINDOWS, AudioInputSpec
from training_service.arrays.records import Positions
from training_service.datasets.manifest import DatasetManifest, DatasetRow
from training_service.modalities.audio.spectrograms import drawn
from training_service.modalities.modality import Picture, PreparedColumn
from training_service.modalities.views import View
from training_service.recipes.recipe import Augmentation, RecipeName

AUGMENTATIONS = frozenset({Augmentation.NONE})
OWN_BASE_RECIPES: frozenset[RecipeName | None] = frozenset({RecipeName.SCRATCH})
VARIANTS_ARE = ""
VARIANTS: Mapping[str, str] = {}
_EDGE = 144
_FULL_SCALE = 32768


def preparation(spec: InputSpec) -> str:
    """Return the key of prepared windows: rate, window, hop, their number, the decoder and the resampler."""
    own = cast("AudioInputSpec", spec)
    sizes = f"{own.rate}-{own.window}-{own.hop}-{own.max_windows}-{own.centred}"
    return f"{sizes}-soundfile-{version('soundfile')}-scipy-{version('scipy')}"


def misfit(spec: InputSpec, about: Mapping[str, Any]) -> str:  # noqa: ARG001  every recording is resampled and cut
    """Return nothing: recordings of any rate and length fit."""
    return ""


def longest(spec: InputSpec, facts: Sequence[Mapping[str, Any]]) -> Rows:
    """Return a blank row with as many windows as the longest recording has."""
    own = cast("AudioInputSpec", spec)
    most = max(own.num_windows(each["frames"], each["rate"]) for each in facts)
    return own.blank_of(own.padded_windows(most))


def own_base(about: Mapping[str, Any], *, trains_stages: bool) -> LoadedBase | None:  # noqa: ARG001  recordings of any kind
    """Return a recurrent network that begins at random, to train; none to fit a head on."""
    return load_random("audio_lstm", 0) if trains_stages else None


def variants(spec: InputSpec, facts: Sequence[Mapping[str, Any]]) -> dict[str, InputSpec]:  # noqa: ARG001  there is one
    """Return the spec."""
    return {"": spec}


def variant(spec: InputSpec, name: str) -> InputSpec:  # noqa: ARG001  as above
    """Return the spec."""
    return spec


def fitted_spec(spec: InputSpec, manifest: DatasetManifest, rows: Rows, train: Positions) -> InputSpec:  # noqa: ARG001  takes nothing from rows
    """Return the spec: its rate and windows are the network's."""
    return spec


def augmented(batch: Batch, spec: InputSpec, kind: Augmentation, generator: torch.Generator) -> Batch:  # noqa: ARG001  none is varied
    """Return the rows."""
    return spec.to_input(batch)


def viewed(batch: Batch, spec: InputSpec, view: View, position: int) -> Batch:  # noqa: ARG001  as above
    """Return the rows."""
    return spec.to_input(batch)


def columns(spec: InputSpec, manifest: DatasetManifest) -> Sequence[PreparedColumn]:  # noqa: ARG001  there are none
    """Return nothing."""
    return ()


def describe_mistake(manifest: DatasetManifest, row: DatasetRow, prepared: Rows) -> Picture:  # noqa: ARG001  the windows say it all
    """Return a picture of the windows of a recording, one behind the other, as the model heard them."""
    own = prepared.arrays[WINDOWS][0][prepared.arrays[MASK][0]]
    return Picture(drawn((own.reshape(-1) / np.float32(_FULL_SCALE)).astype(np.float32), row.facts["rate"], _EDGE))
