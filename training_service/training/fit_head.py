"""Fits a head of any kind on the features of a frozen backbone, by scikit-learn, and puts it behind the backbone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch

from model_store.architectures import HEAD, Chain, Head, HeadKind, categorical_columns, run_stage, with_fitted_head
from model_store.modalities import Batch
from training_service.arrays.records import Positions
from training_service.features.frozen_features import batches, embeddings
from training_service.heads import HEADS, FitRows, FittedTensors, Settings
from training_service.modalities.views import further_views
from training_service.phases import Phase
from training_service.recipes.head_names import HeadName
from training_service.recipes.heads import HEAD_RULES
from training_service.recipes.recipe import ClassWeights, Recipe
from training_service.recipes.refitting import REFITTED
from training_service.tasks.training_task import Outputs, Validation
from training_service.training.heads import Features
from training_service.training.progress import Figures
from training_service.training.training_context import FineTuned, TrainingContext

_ROWS_AT_ONCE = 1024
_MAX_COMPARED = 10_000
_CANDIDATES = (HeadName.LOGISTIC_REGRESSION, HeadName.RIDGE, HeadName.GRADIENT_BOOSTING, HeadName.MLP)
"""The kinds of heads among which the service chooses, as far as they fit the task."""


@dataclass(frozen=True)
class _Tried:
    settings: Settings
    outputs: Outputs
    validation: Validation


def fit_head(chain: Chain, recipe: Recipe, context: TrainingContext) -> FineTuned:
    """Fit the recipe's head on features of rows, and of their other views where the recipe asks for them.

    What the recipe leaves open is chosen on the validation rows, by the lowest loss; the head is then fitted again on
    training and validation rows together. Nothing looks at the test rows before the end.
    """
    seen = np.concatenate([context.train, context.validation])
    activations = context.activations(dict(chain.backbone), further_views(recipe, context.seed), seen)
    views = [embeddings(each) for each in activations]
    plain = views[0]
    categorical = categorical_columns(chain)
    if recipe.reason:  # the service has chosen to fit a head, and left open which
        recipe = _with_head(chain, views, recipe, context, categorical)
    rows = _rows(views, context.train, recipe, context, categorical)
    best = _best(chain, rows, plain[context.validation], recipe, context)
    head, fitted = _fitted(
        chain, HEADS[recipe.head].fit(_rows(views, seen, recipe, context, categorical), best.settings), context, recipe
    )
    context.begin(Phase.EVALUATING)
    answers = context.answers(_outputs(fitted, plain[context.test]), best.outputs)
    return context.tuned(fitted, (HEAD,), answers, {**recipe.to_json(), **best.settings, REFITTED: True}, head)


def _with_head(
    chain: Chain, views: list[Features], recipe: Recipe, context: TrainingContext, categorical: tuple[int, ...]
) -> Recipe:
    """Return the recipe with the kind of head of the lowest loss, and tell why.

    Each kind predicts rows that it was fitted without: those of each fold in turn, an even spread of training and
    validation rows, with the settings that are best on validation rows.
    """
    seen = np.sort(np.concatenate([context.train, context.validation]))
    chosen = seen[np.linspace(0, len(seen) - 1, min(len(seen), _MAX_COMPARED)).astype(np.int64)]
    losses: dict[HeadName, float] = {}
    for name in _CANDIDATES:
        if context.task.kind not in HEAD_RULES[name].tasks:
            continue
        each = replace(recipe, head=name)
        rows = _rows(views, context.train, each, context, categorical)
        best = _best(chain, rows, views[0][context.validation], each, context)
        losses[name] = _cross_validated(chain, views[0][chosen], chosen, best.settings, each, context, categorical)
    name = min(losses, key=lambda each: losses[each])
    shown = ", ".join(f"{each} {loss:.3f}" for each, loss in losses.items())
    context.remark(f"{name} is chosen: loss of left-out rows in cross-validation of {len(chosen)} rows: {shown}")
    return replace(recipe, head=name)


def _cross_validated(
    chain: Chain,
    features: Features,
    positions: Positions,
    settings: Settings,
    recipe: Recipe,
    context: TrainingContext,
    categorical: tuple[int, ...],
) -> float:
    """Return the mean loss of rows that a head was fitted without; `features` are those at the positions."""
    targets = context.targets_at(positions)
    folds = context.training_task.folds(targets)
    outputs = np.zeros((len(positions), len(context.task.names)), np.float32)
    for fold in np.unique(folds[folds >= 0]):
        context.check_going_on()
        kept = folds != fold
        whole = _rows([features[kept]], np.arange(int(kept.sum())), recipe, context, categorical)
        rows = replace(whole, targets=context.data.targets[positions[kept]])
        outputs[~kept] = _outputs(
            _fitted(chain, HEADS[recipe.head].fit(rows, settings), context, recipe)[1], features[~kept]
        )
    left_out = folds >= 0
    scaled = outputs if context.scale is None else context.scale.scaled(outputs)
    return float(context.training_task.row_losses(scaled[left_out], targets[left_out]).mean())


def _best(chain: Chain, rows: FitRows, validation: Features, recipe: Recipe, context: TrainingContext) -> _Tried:
    """Fit with each of the settings, report each, and return the one of the lowest loss."""
    kind, task = HEADS[recipe.head], context.training_task
    choices, targets = kind.settings(recipe, rows), context.targets_at(context.validation)
    context.begin(Phase.FITTING_HEAD, len(choices))
    tried: list[_Tried] = []
    for number, settings in enumerate(choices, start=1):
        _, fitted = _fitted(chain, kind.fit(rows, settings), context, recipe)
        outputs = _outputs(fitted, validation)
        scaled = outputs if context.scale is None else context.scale.scaled(outputs)
        found = task.validate(scaled, targets)
        tried.append(_Tried(settings, scaled, found))
        context.report(number, lambda found=found: Figures().validated(task, found), is_milestone=True)  # type: ignore[misc]
    best = min(tried, key=lambda each: each.validation.loss)
    named = ", ".join(f"{name} {_text(value)}" for name, value in best.settings.items())
    context.tell(
        f"{recipe.head}: of {len(tried)} settings {named or 'the only one'} is best: "
        f"validation {task.headline} {best.validation.metric:.3f}"
    )
    return best


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _rows(
    views: list[Features], positions: Positions, recipe: Recipe, context: TrainingContext, categorical: tuple[int, ...]
) -> FitRows:
    """Return the rows of each view behind those of the one before, in float64."""
    return FitRows(
        np.concatenate([view[positions].astype(np.float64) for view in views]),
        np.concatenate([context.data.targets[positions]] * len(views)),
        context.task.kind,
        len(context.task.names),
        strengths=context.training_task.strengths,
        is_balanced=recipe.class_weights is ClassWeights.BALANCED,
        seed=context.seed,
        categorical=categorical,
    )


def _fitted(chain: Chain, found: FittedTensors, context: TrainingContext, recipe: Recipe) -> tuple[Head, Chain]:
    """Return a head of these tensors, and the chain that ends in it."""
    kind = cast("HeadKind", str(recipe.head))
    head = Head(kind, len(context.task.names), context.task.activation, found.arguments)
    made = with_fitted_head(chain, head)
    made.load_stage(HEAD, {name: tensor.to(context.device) for name, tensor in found.tensors.items()})
    return head, made.eval()


def _outputs(chain: Chain, features: Features) -> Outputs:
    """Return what the head of a chain gives for embeddings [n, d]."""

    def parts() -> Iterator[Outputs]:
        stage = chain.stage(HEAD)
        device = next(iter(stage.state_dict().values())).device
        (read,) = stage.reads  # type: ignore[misc]  # a fitted head reads the embedding alone
        for positions in batches(np.arange(len(features)), _ROWS_AT_ONCE):
            part = torch.from_numpy(np.ascontiguousarray(features[positions])).to(device)
            with torch.inference_mode():
                yield run_stage(stage, Batch({read: part}, len(part))).x.cpu().numpy()

    return np.concatenate(list(parts()))
