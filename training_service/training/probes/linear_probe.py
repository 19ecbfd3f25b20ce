"""The linear probe: the backbone stays as it is, and only a head is fitted, on features computed once."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from model_store.architectures import HEAD, Chain
from training_service.arrays.records import Positions
from training_service.arrays.scratch import stacked
from training_service.features.frozen_features import batches, embeddings
from training_service.modalities.views import further_views
from training_service.phases import Phase
from training_service.recipes.recipe import ClassWeights, Recipe
from training_service.recipes.refitting import REFITTED
from training_service.tasks.training_task import Outputs, Targets
from training_service.training.cross_validation.left_out import cross_validated
from training_service.training.heads import Candidate, Features, HeadFitter, LinearHead, choose_head, load_head
from training_service.training.progress import Figures
from training_service.training.training_context import FineTuned, TrainingContext


def linear_probe(chain: Chain, recipe: Recipe, context: TrainingContext) -> FineTuned:
    """Fit the head on features of rows and of their other views, mirror images where nothing else is asked for.

    How strongly it is regularised is chosen on the validation rows; the head is then fitted again on training and
    validation rows together, as every row counts where there are few. Nothing looks at the test rows before the end.
    """
    activations = context.activations(dict(chain.backbone), further_views(recipe, context.seed), context.viewed)
    views = [embeddings(each) for each in activations]
    started = time.monotonic()
    best, head = _fitted(views, recipe, context)
    fit_seconds = time.monotonic() - started
    load_head(chain.stage(HEAD), head)
    context.begin(Phase.EVALUATING)
    # The last fit has seen the validation rows: how sure a head is of rows that it has not seen, the candidate tells.
    plain = views[0]
    answers = context.answers(head.outputs(plain[context.test]), best.head.outputs(plain[context.validation]))
    hyperparameters = {**recipe.to_json(), "strength": best.strength, REFITTED: True}
    tuned = context.tuned(chain.eval(), (HEAD,), answers, hyperparameters, plain.__getitem__)

    def left_out(fold: TrainingContext) -> Outputs:
        return _fitted(views, recipe, fold)[1].outputs(plain[fold.test])

    return cross_validated(tuned, context, left_out, fit_seconds)


def _fitted(views: Sequence[Features], recipe: Recipe, context: TrainingContext) -> tuple[Candidate, LinearHead]:
    """Return the best head of the training rows, and one of its strength that is fitted on validation rows too.

    The outputs of the second one are in the targets' own units.
    """
    seen = np.concatenate([context.train, context.validation])
    features, targets = _every_view(views, seen, context)
    fitter = head_fitter(features, recipe, context)
    validation = (views[0][context.validation], context.targets_at(context.validation))
    best = best_candidate(fitter, _every_view(views, context.train, context), validation, context)
    head = fitter.fit(features, targets, len(context.task.names), best.strength)
    return best, head.unscaled(context.scale)


def head_fitter(features: Features, recipe: Recipe, context: TrainingContext) -> HeadFitter:
    """Return what fits heads on rows of these features."""
    is_balanced = recipe.class_weights is ClassWeights.BALANCED
    return HeadFitter(features, context.training_task, is_balanced=is_balanced, folder=context.folder)


def best_candidate(
    fitter: HeadFitter, train: tuple[Features, Targets], validation: tuple[Features, Targets], context: TrainingContext
) -> Candidate:
    """Choose the head's regularisation, and report each try."""

    def on_candidate(number: int, candidate: Candidate) -> None:
        context.report(number, lambda: Figures().validated(task, candidate.validation), is_milestone=True)

    task = context.training_task
    context.begin(Phase.FITTING_HEAD, len(task.strengths))
    best = choose_head(fitter, train, validation, len(context.task.names), on_candidate)
    context.tell(
        f"of {len(task.strengths)} strengths {best.strength:g} is best: "
        f"validation {task.headline} {best.validation.metric:.3f}"
    )
    return best


def _every_view(views: Sequence[Features], positions: Positions, context: TrainingContext) -> tuple[Features, Targets]:
    """Return the rows of each view behind those of the one before, mapped: they may be many."""
    parts = (view[batch] for view in views for batch in batches(positions))
    rows = stacked(context.folder, len(views) * len(positions), parts)
    return rows, np.concatenate([context.targets_at(positions)] * len(views))
