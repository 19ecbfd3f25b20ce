"""Fine-tuning: the last stages, or all of them, trained by gradients behind a frozen prefix of the chain."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from model_store.architectures import HEAD, Chain
from training_service.arrays.read_ahead import read_ahead
from training_service.arrays.records import Positions
from training_service.arrays.scratch import stacked
from training_service.features.frozen_features import batches
from training_service.modalities.views import further_views
from training_service.phases import Phase
from training_service.recipes.recipe import CROPS, HeadStart, Recipe, RecipeName
from training_service.recipes.refitting import REFITTED
from training_service.tasks.training_task import Outputs, Targets
from training_service.training.cross_validation.folds import STEPS_PLANS
from training_service.training.cross_validation.left_out import cross_validated
from training_service.training.fit_head import fit_head
from training_service.training.heads import Features, load_head, unscale_head
from training_service.training.outcome import check_outcome
from training_service.training.probes.linear_probe import best_candidate, head_fitter, linear_probe
from training_service.training.progress import Figures
from training_service.training.rate_finder import find_learning_rate
from training_service.training.rows import ActivationRows, DatasetRows, TrainingRows
from training_service.training.trainer import Trainer, TrainingData
from training_service.training.training_context import FineTuned, TrainingContext


def phase_weights(recipe: Recipe, *, chooses_input: bool = False, cross_validates: bool = False) -> dict[Phase, float]:
    """Return the phases of a recipe, and about which share of the time each takes."""
    folds = {Phase.CROSS_VALIDATING: 0.7 if recipe.has_steps else 0.15} if cross_validates else {}
    chosen = {Phase.CHOOSING_INPUT: 1.0 if not recipe.has_steps else 0.15} if chooses_input else {}
    if not recipe.has_steps:
        return {
            **chosen,
            Phase.DECODING: 0.15,
            Phase.COMPUTING_FEATURES: 0.65,
            Phase.FITTING_HEAD: 0.18,
            Phase.EVALUATING: 0.02,
            **folds,
        }
    weights = {
        **chosen,
        Phase.DECODING: 0.1,
        Phase.COMPUTING_FEATURES: 0.1,
        Phase.FITTING_HEAD: 0.05,
        Phase.TRAINING: 0.7,
        Phase.EVALUATING: 0.05,
        **folds,
    }
    if recipe.head_start is HeadStart.RANDOM:
        del weights[Phase.FITTING_HEAD]
    return weights


def fine_tune(chain: Chain, recipe: Recipe, trained: Sequence[str], context: TrainingContext) -> FineTuned:
    """Run a recipe that trains these backbone stages, and the head; the chain is changed in place.

    The chain holds the base's backbone and a fresh head. Stages before the first trained one stay in eval mode and are
    run once over the data, unless crops make every row new in every step; what comes out is measured on the test rows.
    """
    chain = chain.to(context.device)
    if recipe.name is RecipeName.LINEAR_PROBE:
        return linear_probe(chain, recipe, context)
    if recipe.name is RecipeName.FIT_HEAD:
        return fit_head(chain, recipe, context)
    crops_anew = recipe.augmentation in CROPS and not recipe.view_count
    first = 0 if crops_anew else chain.stage_names.index((*trained, HEAD)[0])
    rows = _rows(chain, first, recipe, context)
    suffix = Chain([(name, chain.stage(name)) for name in chain.stage_names[first:]], chain.embedding_size)
    suffix.freeze(set(suffix.stage_names) - {*trained, HEAD})
    untrained = copy.deepcopy(suffix.state_dict()) if context.cross_validating is not None else {}
    trainer, hyperparameters, seconds = _trained(suffix, rows, recipe, context)
    check_outcome(trainer, replace(recipe, learning_rate=hyperparameters["learning_rate"]), context)
    context.begin(Phase.EVALUATING)
    validation_outputs = trainer.outputs(context.validation)
    changed = (*trained, HEAD) if trainer.kept_epoch else (HEAD,)
    _finish(suffix, trainer, rows, recipe, hyperparameters, context)
    answers = context.answers(trainer.outputs(context.test), validation_outputs)
    hyperparameters |= {"num_steps": trainer.step, "kept_epoch": trainer.kept_epoch}

    def embed(positions: Positions) -> Features:
        return _embedded(suffix, rows, positions, context)[0]

    def left_out(fold: TrainingContext) -> Outputs:
        again = copy.deepcopy(suffix)
        again.load_state_dict(untrained)
        trainer, found, _ = _trained(again, rows, recipe, fold)
        _finish(again, trainer, rows, recipe, found, fold)
        return trainer.outputs(fold.test)

    tuned = context.tuned(chain.eval(), changed, answers, hyperparameters, embed)
    return cross_validated(tuned, context, left_out, seconds, STEPS_PLANS)


def _trained(
    suffix: Chain, rows: TrainingRows, recipe: Recipe, context: TrainingContext
) -> tuple[Trainer, dict[str, Any], float]:
    """Train the chain, from where an earlier attempt was broken off.

    Return what the recipe came to, and the seconds that it took in all attempts.
    """
    data = TrainingData(context.training_task, rows, context.targets, context.train, context.validation)
    saved = context.saved
    started = time.monotonic() - (saved.get("seconds", 0.0) if saved else 0.0)
    hyperparameters = dict(saved["hyperparameters"]) if saved else _hyperparameters(suffix, data, recipe, context)
    recipe = replace(recipe, learning_rate=hyperparameters["learning_rate"])
    trainer = Trainer(suffix, data, recipe, context.seed, context.device)
    if saved:
        trainer.load_state_dict(saved["trainer"])
    _train(trainer, hyperparameters, recipe, context, started)
    return trainer, hyperparameters, time.monotonic() - started


def _finish(
    suffix: Chain,
    trainer: Trainer,
    rows: TrainingRows,
    recipe: Recipe,
    hyperparameters: dict[str, Any],
    context: TrainingContext,
) -> None:
    """Fit the head again where no epoch was better than the probe; let it answer in the targets' own units."""
    if trainer.kept_epoch == 0 and recipe.head_start is HeadStart.LINEAR_PROBE:
        _refit_head(suffix, rows, recipe, hyperparameters["head_start_strength"], context)
        hyperparameters[REFITTED] = True
    unscale_head(suffix.stage(HEAD), context.scale)


def _hyperparameters(suffix: Chain, data: TrainingData, recipe: Recipe, context: TrainingContext) -> dict[str, Any]:
    """Prepare what trains for its first step, and return all that the recipe came to."""
    hyperparameters = recipe.to_json()
    if recipe.head_start is HeadStart.LINEAR_PROBE:
        hyperparameters["head_start_strength"] = _start_head(suffix, data.rows, recipe, context)
    if recipe.find_learning_rate:
        found = find_learning_rate(suffix, data, recipe, context.seed, context.device, context.check_going_on)
        hyperparameters["learning_rate"] = found
        context.tell(f"found a learning rate of {found:.2g}")
    return hyperparameters


def _rows(chain: Chain, first: int, recipe: Recipe, context: TrainingContext) -> TrainingRows:
    if first == 0:
        return DatasetRows(context.data.rows, context.modality, context.spec, recipe.augmentation)
    frozen = {name: chain.stage(name) for name in chain.stage_names[:first]}
    viewed = context.train if context.cross_validating is None else context.viewed
    plain, *views = context.activations(frozen, further_views(recipe, context.seed), viewed)
    return ActivationRows(plain, views)


def _start_head(suffix: Chain, rows: TrainingRows, recipe: Recipe, context: TrainingContext) -> float:
    """Give the head the weights of a linear probe, and return its strength: steps then refine what is good already."""
    train, validation = (
        _embedded(suffix, rows, positions, context) for positions in (context.train, context.validation)
    )
    best = best_candidate(head_fitter(train[0], recipe, context), train, validation, context)
    load_head(suffix.stage(HEAD), best.head)
    return best.strength


def _refit_head(suffix: Chain, rows: TrainingRows, recipe: Recipe, strength: float, context: TrainingContext) -> None:
    """Fit the head again, on training and validation rows together: as a linear probe ends, as no epoch beat one."""
    features, targets = _embedded(suffix, rows, np.concatenate([context.train, context.validation]), context)
    fitter = head_fitter(features, recipe, context)
    load_head(suffix.stage(HEAD), fitter.fit(features, targets, len(context.task.names), strength))


def _embedded(
    suffix: Chain, rows: TrainingRows, positions: Positions, context: TrainingContext
) -> tuple[Features, Targets]:
    """Return embeddings of these rows, mapped: they may be many."""
    suffix.eval()

    def embeddings() -> Iterator[Features]:
        for _, batch in read_ahead(rows.read, batches(positions), context.device):
            context.check_going_on()
            with torch.inference_mode():
                yield suffix.embed(rows.inputs(batch)).cpu().numpy()

    return stacked(context.folder, len(positions), embeddings()), context.targets_at(positions)


def _train(
    trainer: Trainer, hyperparameters: Mapping[str, Any], recipe: Recipe, context: TrainingContext, started: float
) -> None:
    """Run the steps that are left; where the job is broken off, the next attempt goes on from the last one saved."""

    def on_step(figures: Callable[[], Figures], *, is_milestone: bool) -> None:
        num_done = trainer.step * len(context.train) // trainer.steps_per_epoch
        context.report(num_done, figures, is_milestone=is_milestone)

    def check_going_on() -> None:
        context.save_if_due(
            trainer.step,
            lambda: {
                "trainer": trainer.state_dict(),
                "hyperparameters": dict(hyperparameters),
                "seconds": time.monotonic() - started,
            },
        )
        context.check_going_on()

    context.begin(Phase.TRAINING, recipe.epoch_count * len(context.train), of_examples=True)
    trainer.train(on_step, check_going_on)
    if trainer.step < trainer.num_steps and not trainer.is_diverged:
        context.tell(
            f"stopped early, at step {trainer.step} of {trainer.num_steps}: {recipe.patience} epochs were no better"
        )
