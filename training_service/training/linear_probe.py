"""The linear probe: the backbone stays as it is, and only a head is fitted, on features computed once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model_store.architectures import HEAD, Chain
from training_service.arrays.scratch import stacked
from training_service.features.frozen_features import Activations, batches
from training_service.modalities.image.augment import further_views
from training_service.modalities.image.pixels import Positions
from training_service.phases import Phase
from training_service.recipes.recipe import Recipe
from training_service.recipes.refitting import REFITTED
from training_service.tasks.classification.metrics import Labels
from training_service.training.heads import STRENGTHS, Candidate, Features, HeadFitter, choose_head, load_head
from training_service.training.progress import Figures
from training_service.training.training_context import FineTuned, TrainingContext


def linear_probe(chain: Chain, recipe: Recipe, context: TrainingContext) -> FineTuned:
    """Fit the head on features of images and of their other views, mirror images where nothing else is asked for.

    How strongly it is regularised is chosen on the validation rows; the head is then fitted again on training and
    validation rows together, as every row counts where there are few. Nothing looks at the test rows before the end.
    """
    seen = np.concatenate([context.train, context.validation])
    plain, views = context.activations(dict(chain.backbone), further_views(recipe, context.seed), seen)
    every_view = _every_view([plain, *views], seen, context)
    fitter = HeadFitter(every_view[0], recipe.class_weights, context.folder)
    validation = (plain[context.validation], context.labels_at(context.validation))
    best = best_candidate(fitter, _every_view([plain, *views], context.train, context), validation, context)
    head = fitter.fit(*every_view, len(context.labels), best.strength)
    load_head(chain.stage(HEAD), head)
    context.begin(Phase.EVALUATING)
    # The last fit has seen the validation rows: how sure a head is of rows that it has not seen, the candidate tells.
    logits = head.logits(plain[context.test])
    metrics = context.measured(logits, best.head.logits(validation[0]))
    hyperparameters = {**recipe.to_json(), "strength": best.strength, REFITTED: True}
    return FineTuned(chain.eval(), (HEAD,), metrics, logits, hyperparameters)


def best_candidate(
    fitter: HeadFitter, train: tuple[Features, Labels], validation: tuple[Features, Labels], context: TrainingContext
) -> Candidate:
    """Choose the head's regularisation, and report each try."""

    def on_candidate(number: int, candidate: Candidate) -> None:
        figures = Figures(metric_name="accuracy", validation_metric=candidate.accuracy, validation_loss=candidate.loss)
        context.report(number, lambda: figures, is_milestone=True)

    context.begin(Phase.FITTING_HEAD, len(STRENGTHS))
    best = choose_head(fitter, train, validation, len(context.labels), on_candidate)
    context.tell(f"of {len(STRENGTHS)} strengths {best.strength:g} is best: validation accuracy {best.accuracy:.3f}")
    return best


def _every_view(
    views: Sequence[Activations], positions: Positions, context: TrainingContext
) -> tuple[Features, Labels]:
    """Return the rows of each view behind those of the one before, mapped: they may be many."""
    parts = (view[batch] for view in views for batch in batches(positions))
    rows = stacked(context.folder, len(views) * len(positions), parts)
    return rows, np.tile(context.labels_at(positions), len(views))
