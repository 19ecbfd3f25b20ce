"""A small model of each modality and task, and what its chain gives when it is run by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model_store.architectures import Chain, Head
from model_store.manifests import Manifest
from model_store.modalities import Batch
from model_store.modalities.image.spec import normalise
from model_store.tasks import Classification, MultiLabel, Regression, Task
from model_store.transactions.publication import Publication
from tests.inference_service.making import SPEC, Recipe, Registry, chain, manifest, mlp, mlp_manifest, photo, pixels

NAMES = ("red", "round", "large")
TASK_OF: dict[str, Task] = {
    "classification": Classification(NAMES, temperature=2.0),
    "multi_label": MultiLabel(NAMES, temperature=0.5),
    "regression": Regression(NAMES),
}
MODALITIES = ("image", "values")
"""Those of which there are models here."""
IMAGES, NUMBERS = Recipe(head=1), mlp()
ROWS: NDArray[np.float32] = np.random.default_rng(0).standard_normal((5, 6), np.float32)
PHOTOS = [photo(seed) for seed in range(3)]


def publish_tasks(registry: Registry) -> None:
    """Publish a model `{modality}-{task}` of each modality and task."""
    blobs = registry.store.blobs
    made = {"image": manifest(blobs, IMAGES), "values": mlp_manifest(blobs, NUMBERS)}
    for modality, of_modality in made.items():
        for kind, task in TASK_OF.items():
            publication = Publication(model_of(modality, kind), with_task(of_modality, task), alias="production")
            registry.store.publish(publication)


def model_of(modality: str, kind: str) -> str:
    """Return the id of the model of a modality and a task."""
    return f"{modality}-{kind.replace('_', '-')}"


def with_task(made: Manifest, task: Task) -> Manifest:
    """Return the manifest of the same stages with another task."""
    return replace(made, task=task, head=Head("linear", len(task.names), task.activation).to_json())


def by_hand(modality: str) -> tuple[Tensor, Tensor]:
    """Return the logits and the embeddings of PHOTOS or ROWS."""
    made: Chain = chain(IMAGES) if modality == "image" else NUMBERS.chain
    x = torch.from_numpy(ROWS)
    if modality == "image":
        x = normalise(torch.from_numpy(np.stack([pixels(each) for each in PHOTOS])), SPEC)
    with torch.inference_mode():
        return made(Batch.of(x)), made.embed(Batch.of(x))
