"""Says in a line what a job trains, on how many rows, and what is to be known of its base."""

from __future__ import annotations

from collections.abc import Sequence

from model_store.architectures import HEAD
from model_store.records.jobs import JobSpec
from model_store.registry.datasets import DatasetStore
from model_store.registry.models import ModelStore
from training_service.datasets.manifest import DatasetManifest
from training_service.datasets.splits import Split
from training_service.evaluation.learned_rows import learned_rows
from training_service.recipes.recipe import Recipe
from training_service.training.training_context import TrainingContext


def plan(recipe: Recipe, trained: Sequence[str], context: TrainingContext) -> str:
    """Return the plan of the training, and the reason of a recipe that the service chose."""
    why = f" ({recipe.reason})" if recipe.reason else ""
    rows = ", ".join(f"{len(context.data.positions[split])} {split}" for split in Split)
    return f"{recipe.name}{why} trains {', '.join((*trained, HEAD))}; outputs: {len(context.task.names)}, rows: {rows}"


def remark_on_base(
    store: ModelStore, datasets: DatasetStore, spec: JobSpec, manifest: DatasetManifest, context: TrainingContext
) -> None:
    """Say where the base learned from rows that the new version will be tested on."""
    learned = learned_rows(store, datasets, store.get_version(spec.base).lineage)
    if num_rows := int(learned.among(manifest, context.test).sum()):
        context.remark(
            f"{spec.base} or a base of it learned from {num_rows} of the {len(context.test)} test rows: the "
            "metrics flatter the version; fine-tune on the base's dataset, or on one that appends to it"
        )
