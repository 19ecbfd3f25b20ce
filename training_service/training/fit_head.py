"""Fits a head of any kind on the features of a frozen backbone, by scikit-learn, and puts it behind the backbone."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch

from model_store.architectures import HEAD, Chain, Head, HeadKind, categorical_columns, run_stage, with_fitted_head
from model_store.modalities import Batch
from model_store.tasks import Task
from training_service.arrays.records import Positions
from training_service.features.frozen_features import batches, embeddings
from training_service.heads import HEADS, FitRows, FittedTensors, Settings, averaged
from training_service.modalities.views import further_views
from training_service.phases import Phase
from training_service.recipes.head_names import HeadName
from training_service.recipes.heads import HEAD_RULES
from training_service.recipes.recipe import ClassWeights, Recipe
from training_service.recipes.refitting import REFITTED
from training_service.tasks.training_task import Numbers, Outputs, Validation
from training_service.training.cross_validation.left_out import cross_validated
from training_service.training.heads import Features
from training_service.training.progress import Figures
from training_service.training.training_context import FineTuned, TrainingContext

_ROWS_AT_ONCE = 1024
_MAX_COMPARED = 10_000
_MOST_ERRORS = 2
COMPARED_HEADS = (
    HeadName.LOGISTIC_REGRESSION, HeadName.RIDGE, HeadName.GRADIENT_BOOSTING, HeadName.RANDOM_FOREST, HeadName.MLP,
)  # fmt: skip
"""The kinds of heads that are averaged, as far as they fit the task."""
PARTS = "parts"
"""The hyperparameter of a version that holds the heads that were averaged, with what was chosen for each."""


@dataclass(frozen=True)
class _Tried:
    recipe: Recipe
    settings: Settings
    fitted: FittedTensors
    validation: Validation
    seconds: float


def fit_head(chain: Chain, recipe: Recipe, context: TrainingContext) -> FineTuned:
    """Fit the recipe's head on features of rows, and of their other views where the recipe asks for them.

    What the recipe leaves open is chosen on the validation rows, by the lowest loss; the head is then fitted again on
    training and validation rows together. Nothing looks at the test rows before the end. In cross-validation a head
    chooses its settings again; the heads of an average stay as they were chosen, as the choice takes many fits.
    """
    activations = context.activations(dict(chain.backbone), further_views(recipe, context.seed), context.viewed)
    views, categorical = [embeddings(each) for each in activations], categorical_columns(chain)
    plain = views[0]
    chosen = _averaged(chain, views, recipe, context, categorical)
    if not chosen:
        chosen = [_best(chain, views, recipe, context, categorical)]
    started = time.monotonic()
    head, fitted = _refitted(chain, views, chosen, context, categorical)
    chooses = recipe.head is not HeadName.AVERAGE
    fit_seconds = time.monotonic() - started + (sum(each.seconds for each in chosen) if chooses else 0.0)
    tried = _fitted(chain, *_joined(chosen, [each.fitted for each in chosen]), context)[1]
    validation = _scaled(head_outputs(tried, plain[context.validation]), context)
    context.begin(Phase.EVALUATING)
    answers = context.answers(head_outputs(fitted, plain[context.test]), validation)
    hyperparameters = {**_hyperparameters(recipe, chosen), REFITTED: True}
    tuned = context.tuned(fitted, (HEAD,), answers, hyperparameters, plain.__getitem__, head)

    def left_out(fold: TrainingContext) -> Outputs:
        again = [_best(chain, views, recipe, fold, categorical)] if chooses else chosen
        return head_outputs(_refitted(chain, views, again, fold, categorical)[1], plain[fold.test])

    return cross_validated(tuned, context, left_out, fit_seconds)


def _refitted(
    chain: Chain,
    views: list[Features],
    chosen: Sequence[_Tried],
    context: TrainingContext,
    categorical: tuple[int, ...],
) -> tuple[Head, Chain]:
    """Return the chosen heads, or their mean, fitted on training and validation rows together."""
    seen = np.concatenate([context.train, context.validation])
    refitted = [
        HEADS[each.recipe.head].fit(_rows(views, seen, each.recipe, context, categorical), each.settings)
        for each in chosen
    ]
    return _fitted(chain, *_joined(chosen, refitted), context)


def _hyperparameters(recipe: Recipe, chosen: Sequence[_Tried]) -> dict[str, Any]:
    """Return the recipe with what was chosen, of one head or of each."""
    if len(chosen) == 1:
        return {**chosen[0].recipe.to_json(), **chosen[0].settings}
    return {**recipe.to_json(), PARTS: [{"head": str(each.recipe.head), **each.settings} for each in chosen]}


def _joined(chosen: Sequence[_Tried], fitted: Sequence[FittedTensors]) -> tuple[HeadName, FittedTensors]:
    """Return the one head, or the mean of several."""
    names = [each.recipe.head for each in chosen]
    return (names[0], fitted[0]) if len(names) == 1 else (HeadName.AVERAGE, averaged(names, fitted))


def _averaged(
    chain: Chain, views: list[Features], recipe: Recipe, context: TrainingContext, categorical: tuple[int, ...]
) -> list[_Tried]:
    """Return the best head, and those that cannot be told from it, and tell why; none where the recipe names one.

    Each kind predicts rows that it was fitted without: those of each fold in turn, an even spread of training and
    validation rows, with the settings that are best on validation rows.
    """
    if recipe.head is not HeadName.AVERAGE:
        return []
    seen = np.sort(np.concatenate([context.train, context.validation]))
    compared = seen[np.linspace(0, len(seen) - 1, min(len(seen), _MAX_COMPARED)).astype(np.int64)]
    losses: dict[HeadName, Numbers] = {}
    tried: dict[HeadName, _Tried] = {}
    for name in _candidates(recipe, context):
        tried[name] = _best(chain, views, replace(recipe, head=name), context, categorical)
        losses[name] = _cross_validated(chain, views[0][compared], compared, tried[name], context, categorical)
    alike = equally_good(losses)
    shown = ", ".join(f"{name} {each.mean():.3f}" for name, each in losses.items())
    does = "is chosen" if len(alike) == 1 else "are averaged, as their losses differ by at most two standard errors"
    context.remark(
        f"{' and '.join(alike)} {does}: loss of left-out rows in cross-validation of {len(compared)} rows: {shown}"
    )
    return [tried[name] for name in alike]


def equally_good(losses: Mapping[HeadName, Numbers]) -> list[HeadName]:
    """Return the heads that cannot be told from the best one, by their losses of the same rows [n].

    Their mean loss is above the lowest one by at most two standard errors of the difference. With one, heads were left
    out on a few hundred rows that were better on new rows.
    """
    best = min(losses.values(), key=lambda each: float(each.mean()))
    differences = {name: each - best for name, each in losses.items()}
    return [name for name, each in differences.items() if each.mean() <= _MOST_ERRORS * each.std() / np.sqrt(len(each))]


def _candidates(recipe: Recipe, context: TrainingContext) -> Sequence[HeadName]:
    is_balanced = recipe.class_weights is ClassWeights.BALANCED
    rules = {name: HEAD_RULES[name] for name in COMPARED_HEADS}
    return [
        name
        for name, each in rules.items()
        if context.task.kind in each.tasks and (each.has_class_weights or not is_balanced)
    ]


def _cross_validated(
    chain: Chain,
    features: Features,
    positions: Positions,
    tried: _Tried,
    context: TrainingContext,
    categorical: tuple[int, ...],
) -> Numbers:
    """Return the loss of each row that a head was fitted without; `features` are those at the positions."""
    targets = context.targets_at(positions)
    folds = context.training_task.folds(targets)
    outputs = np.zeros((len(positions), len(context.task.names)), np.float32)
    for fold in np.unique(folds[folds >= 0]):
        context.check_going_on()
        kept = folds != fold
        whole = _rows([features[kept]], np.arange(int(kept.sum())), tried.recipe, context, categorical)
        rows = replace(whole, targets=context.data.targets[positions[kept]])
        fitted = HEADS[tried.recipe.head].fit(rows, tried.settings)
        outputs[~kept] = head_outputs(_fitted(chain, tried.recipe.head, fitted, context)[1], features[~kept])
    left_out = folds >= 0
    return context.training_task.row_losses(_scaled(outputs, context)[left_out], targets[left_out])


def _scaled(outputs: Outputs, context: TrainingContext) -> Outputs:
    """Return outputs in the units that are trained on."""
    return outputs if context.scale is None else context.scale.scaled(outputs)


def _best(
    chain: Chain, views: list[Features], recipe: Recipe, context: TrainingContext, categorical: tuple[int, ...]
) -> _Tried:
    """Fit with each of the settings on training rows, report each, and return the one of the lowest loss."""
    kind, task = HEADS[recipe.head], context.training_task
    rows = _rows(views, context.train, recipe, context, categorical)
    choices, targets = kind.settings(recipe, rows), context.targets_at(context.validation)
    context.begin(Phase.FITTING_HEAD, len(choices))
    started = time.monotonic()
    tried: list[_Tried] = []
    for number, settings in enumerate(choices, start=1):
        fitted = kind.fit(rows, settings)
        outputs = head_outputs(_fitted(chain, recipe.head, fitted, context)[1], views[0][context.validation])
        found = task.validate(_scaled(outputs, context), targets)
        tried.append(_Tried(recipe, settings, fitted, found, 0.0))
        context.report(number, lambda found=found: Figures().validated(task, found), is_milestone=True)  # type: ignore[misc]
    best = min(tried, key=lambda each: each.validation.loss)
    named = ", ".join(f"{name} {_text(value)}" for name, value in best.settings.items())
    context.tell(
        f"{recipe.head}: of {len(tried)} settings {named or 'the only one'} is best: "
        f"validation {task.headline} {best.validation.metric:.3f}"
    )
    return replace(best, seconds=time.monotonic() - started)


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


def _fitted(chain: Chain, name: HeadName, found: FittedTensors, context: TrainingContext) -> tuple[Head, Chain]:
    return with_head(chain, name, found, context.task, context.device)


def with_head(
    chain: Chain, name: HeadName, found: FittedTensors, task: Task, device: torch.device
) -> tuple[Head, Chain]:
    """Return a head of these tensors, and the chain that ends in it."""
    head = Head(cast("HeadKind", str(name)), len(task.names), task.activation, found.arguments)
    made = with_fitted_head(chain, head)
    made.load_stage(HEAD, {name: tensor.to(device) for name, tensor in found.tensors.items()})
    return head, made.eval()


def head_outputs(chain: Chain, features: Features) -> Outputs:
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
