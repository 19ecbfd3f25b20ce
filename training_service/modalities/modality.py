"""The protocol of a modality for training: rows for a base's input spec, and variations of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from model_store.bases.catalogue import LoadedBase
from model_store.manifests import Manifest
from model_store.modalities import Batch, InputSpec, Rows
from training_service.arrays.records import Positions
from training_service.datasets.manifest import DatasetManifest, DatasetRow
from training_service.datasets.modality import Modality
from training_service.modalities.views import View
from training_service.recipes.recipe import Augmentation, Recipe, RecipeName


@dataclass(frozen=True)
class FittedOn:
    """What a stage is fitted on: the tensor that it reads [n, …], targets, the stages before it, and the recipe."""

    values: NDArray[np.float32]
    targets: NDArray[Any]
    before: Sequence[nn.Module]
    recipe: Recipe


StageFitter = Callable[[nn.Module, FittedOn], Mapping[str, NDArray[np.float32]]]
"""Returns what a stage's buffers become, by name."""


@dataclass(frozen=True)
class TextBase:
    """A version whose backbone reads a column of texts: its name, its manifest, and its input spec.

    `column` names the column of a table; empty where the table has one alone.
    """

    name: str
    manifest: Manifest
    spec: InputSpec
    column: str = ""


@dataclass(frozen=True)
class Picture:
    """A row as a report shows it: the bytes of a JPEG."""

    jpeg: bytes


@dataclass(frozen=True)
class Facts:
    """A row as a report shows it: a few names with their values."""

    values: Mapping[str, str]


@dataclass(frozen=True)
class PreparedColumn:
    """A named column of the input: its array among prepared rows, its place there, and whether it has categories.

    Without a place it is what the stages before the first fitted one make of a text: the whole of that array.
    """

    name: str
    array: str
    place: int | None
    is_category: bool = False


class TrainingModality(Modality, Protocol):
    """One modality, as training, evaluation and reports need it; a package of functions."""

    AUGMENTATIONS: frozenset[Augmentation]
    """How rows can be varied while training."""
    VARIANTS_ARE: str
    """What variants of an input spec differ in, as a heading has it; empty where there are none."""
    VARIANTS: Mapping[str, str]
    """What each variant of an input spec does, by its name; empty where there are none."""
    OWN_BASE_RECIPES: frozenset[RecipeName | None]
    """Recipes with which a job needs no base, as `own_base` makes one; None is the recipe that the service chooses."""

    def preparation(self, spec: InputSpec) -> str:
        """Name all that the bits of prepared rows depend on, but for the dataset: of the spec, and of libraries."""
        ...

    def longest(self, spec: InputSpec, facts: Sequence[Mapping[str, Any]]) -> Rows:
        """Return a blank row in which each row of these examples has room; `facts` are theirs."""
        ...

    def misfit(self, spec: InputSpec, about: Mapping[str, Any]) -> str:
        """Return why examples do not fit a spec of this modality; empty if they do. `about` is their summary."""
        ...

    def own_base(self, about: Mapping[str, Any], *, trains_stages: bool) -> LoadedBase | None:
        """Return the base for a dataset where the caller names none; None where OWN_BASE_RECIPES is empty.

        `about` is the dataset's summary; `trains_stages` says whether the recipe trains other stages than the head.
        """
        ...

    def variants(self, spec: InputSpec, facts: Sequence[Mapping[str, Any]]) -> Mapping[str, InputSpec]:
        """Return the variants of a base's spec, by name, its own first; `facts` are those of a dataset's examples.

        Two that prepare equal rows of these examples are one. Without VARIANTS there is the spec alone, without a name.
        """
        ...

    def variant(self, spec: InputSpec, name: str) -> InputSpec:
        """Return the variant of this name."""
        ...

    def fitted_spec(self, spec: InputSpec, manifest: DatasetManifest, rows: Rows, train: Positions) -> InputSpec:
        """Return the spec, completed from the training rows, which are at these positions of all rows."""
        ...

    def augmented(self, batch: Batch, spec: InputSpec, kind: Augmentation, generator: torch.Generator) -> Batch:
        """Turn prepared rows on a device into model inputs, varied as asked by the generator alone."""
        ...

    def viewed(self, batch: Batch, spec: InputSpec, view: View, position: int) -> Batch:
        """Turn prepared rows from this position on into model inputs as a view has them."""
        ...

    def columns(self, spec: InputSpec, manifest: DatasetManifest) -> Sequence[PreparedColumn]:
        """Return the named columns of prepared rows; none where examples have no columns."""
        ...

    def describe_mistake(self, manifest: DatasetManifest, row: DatasetRow, prepared: Rows) -> Picture | Facts:
        """Return the form in which a report shows one prepared row that a version is wrong about."""
        ...
