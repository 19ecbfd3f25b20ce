"""Runs a recipe again without some rows at a time, and measures it on the rows that were left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from model_store.records.metrics import CrossValidation
from model_store.tasks import Task
from training_service.phases import Phase
from training_service.tasks import TRAINING_TASKS
from training_service.tasks.bootstrap import row_intervals
from training_service.tasks.training_task import Answers, Outputs, Targets
from training_service.training.cross_validation.folds import PLANS, Fold, Plan, affordable, draws_of
from training_service.training.training_context import FineTuned, LeftOut, TrainingContext


def cross_validated(
    tuned: FineTuned,
    context: TrainingContext,
    outputs_of: Callable[[TrainingContext], Outputs],
    fit_seconds: float,
    plans: Sequence[Plan] = PLANS,
) -> FineTuned:
    """Return a version with the answers of its recipe for all rows of a small dataset, each by a run without it.

    `outputs_of` runs the recipe in other surroundings, which have a fold as their test split, and returns the outputs
    for it in the targets' own units; a run on all rows took `fit_seconds`. What the recipe chooses it chooses again in
    each run, but for what the input spec and fitted stages took from the training rows. A row that the base has learned
    from is not left out. Where this cannot be done, or not in time, the version stays as it is and the job says why.
    """
    small = context.cross_validating
    if small is None:
        return tuned
    plan = affordable(plans, fit_seconds, small.max_seconds)
    if plan is None:
        needed = plans[-1].num_fits * fit_seconds
        context.tell(
            f"the recipe is not cross-validated: {plans[-1].num_folds} folds would take about {needed:.0f} s, more "
            f"than the {small.max_seconds:g} s that the service allows (MAAS_TRAINING_CROSS_VALIDATION_SECONDS)"
        )
        return tuned
    draws = draws_of(plan, context.data.targets, small.groups, context.training_task)
    if not draws:
        context.tell("the groups of rows are too large for cross-validation")
        return tuned
    context.begin(Phase.CROSS_VALIDATING, plan.num_fits)
    left_out = run_without(
        draws, len(context.task.names), lambda fold: outputs_of(context.for_fold(fold)), context.report
    )
    if not np.isfinite(left_out.outputs).all():
        context.tell("the recipe is not cross-validated: training diverged in a fold")
        return tuned
    left_out = left_out.at(small.is_held_out)
    groups, targets = small.groups[left_out.positions], context.data.targets[left_out.positions]
    found = measured(left_out, targets, groups, tuned.answers.task, plan)
    context.tell(f"cross-validation of the recipe on {found.num_rows} rows: {found.metric} {found.value:.3f}")
    return replace(tuned, left_out=left_out, metrics=replace(tuned.metrics, cross_validation=found))


def run_without(
    draws: Sequence[Sequence[Fold]],
    num_outputs: int,
    outputs_of: Callable[[Fold], Outputs],
    on_fold: Callable[[int], None],
) -> LeftOut:
    """Return outputs for the rows that each draw leaves out once; `outputs_of` gives those of a fold's rows, in order.

    `on_fold` is told how many folds are done.
    """
    left_out = [np.sort(np.concatenate([fold.out for fold in draw])) for draw in draws]
    positions = reduce(np.intersect1d, left_out)
    outputs = np.zeros((len(draws), max(int(each[-1]) for each in left_out) + 1, num_outputs), np.float32)
    every = ((of_draw, fold) for of_draw, draw in zip(outputs, draws, strict=True) for fold in draw)
    for number, (of_draw, fold) in enumerate(every, start=1):
        of_draw[fold.out] = outputs_of(fold)
        on_fold(number)
    return LeftOut(positions, outputs[:, positions])


def measured(left_out: LeftOut, targets: Targets, groups: NDArray[np.int64], task: Task, plan: Plan) -> CrossValidation:
    """Return the mean over draws of the task's own metric; targets and groups, int64 [n], are those of the rows.

    The interval has percentiles of 1,000 samples of whole groups of rows. It does not contain how much another draw of
    training rows would change the heads (Bengio and Grandvalet 2004).
    """
    name = TRAINING_TASKS[task.kind].headline
    form = TRAINING_TASKS[task.kind].metrics[name]
    figures = [form.sampled(Answers(each, targets, task)) for each in left_out.outputs]
    _, units = np.unique(groups, return_inverse=True)

    def mean(counts: NDArray[np.float32]) -> NDArray[np.float64]:
        means: NDArray[np.float64] = np.mean([figure(counts[:, units]) for figure in figures], axis=0)
        return means[:, None]

    num_units = int(units.max()) + 1
    (interval,) = row_intervals(num_units, mean)
    value = float(mean(np.ones((1, num_units), np.float32))[0, 0])
    return CrossValidation(name, value, interval, len(targets), plan.num_folds, plan.num_repeats)
