"""What came of training: says so where it diverged or improved on nothing, and fails where nothing is left of it."""

from __future__ import annotations

from model_store.errors import StoreError
from training_service.recipes.recipe import HeadStart, Keep, Recipe
from training_service.training.trainer import Trainer
from training_service.training.training_context import TrainingContext


class TrainingFailed(StoreError):
    """Training came to nothing that is worth a version; the text says what to do."""


def check_outcome(trainer: Trainer, recipe: Recipe, context: TrainingContext) -> None:
    """Remark on training that did not go well; raise TrainingFailed where it leaves nothing to register.

    What is kept of training that diverged are the weights of the best epoch before, where the recipe keeps that, or
    those of the probe that it began with. Random weights are no better start.
    """
    epoch = trainer.step // trainer.steps_per_epoch
    advice = f"choose a learning_rate below {recipe.learning_rate:g}"
    diverged = f"training diverged in epoch {epoch}: its loss or its weights are no finite numbers"
    if recipe.keep is Keep.LAST:
        if trainer.is_diverged:
            raise TrainingFailed(f"{diverged}; {advice}")
        if trainer.num_worse_epochs == epoch:
            context.remark(f"no epoch ended with a lower validation loss than there was at the start; {advice}")
    elif trainer.kept_epoch > 0:
        if trainer.is_diverged:
            context.remark(f"{diverged}; the version has the weights of epoch {trainer.kept_epoch}; {advice}")
    elif recipe.head_start is HeadStart.LINEAR_PROBE:
        told = (
            f"{diverged}; no epoch improved on the probe" if trainer.is_diverged else "no epoch improved on the probe"
        )
        context.remark(
            f"{told}, whose validation loss is {trainer.best_loss:.4f}: the version is the probe, fitted again on "
            f"training and validation rows; {advice}, or use the recipe linear_probe"
        )
    else:
        told = diverged if trainer.is_diverged else "no epoch was better than the random weights at the start"
        raise TrainingFailed(f"{told}; {advice}, or train for more epochs")
