"""Says in a line what a job trains, on how many rows."""

from __future__ import annotations

from collections.abc import Sequence

from model_store.architectures import HEAD
from training_service.datasets.splits import Split
from training_service.recipes.recipe import Recipe
from training_service.training.training_context import TrainingContext


def plan(recipe: Recipe, trained: Sequence[str], context: TrainingContext) -> str:
    """Return the plan of the training, and the reason of a recipe that the service chose."""
    why = f" ({recipe.reason})" if recipe.reason else ""
    rows = ", ".join(f"{len(context.data.positions[split])} {split}" for split in Split)
    return f"{recipe.name}{why} trains {', '.join((*trained, HEAD))}; outputs: {len(context.task.names)}, rows: {rows}"
