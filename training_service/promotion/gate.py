"""The gate: whether a new version may stand behind an alias, compared with the version there now. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from model_store.errors import InvalidInput, Violation
from model_store.names import VersionName
from model_store.records.metrics import CROSS_VALIDATION, Metrics
from model_store.records.promotion import PromotionSpec, Requirement, Verdict
from training_service.evaluation.difference import Difference
from training_service.tasks import TRAINING_TASKS, TrainingTask
from training_service.tasks.training_task import Metric

_MAX_SHADOW_SECONDS = 7 * 24 * 3600
_MAX_MIN_ROWS = 1_000_000
_ROUNDING = 1e-9  # of differences: 0.9 - 0.8 is a little less than 0.1
_FORMS = {name: form for task in TRAINING_TASKS.values() for name, form in task.metrics.items()}
_MOST_LOSS = 0.005
"""The largest measured loss that noise excuses: half a point of a share, or half a percent of a quantity."""


@dataclass(frozen=True)
class Incumbent:
    """The version behind an alias, and how far the new one is from it on the same rows.

    Where it cannot be measured there, `obstacle` says why.
    """

    name: VersionName
    difference: Difference | None
    obstacle: str = ""


@dataclass(frozen=True)
class LeftOut:
    """Test rows left out of the comparison because a version learned from them, and rows that are no longer known."""

    num_rows: int = 0
    unknown: tuple[str, ...] = ()


def with_metric(spec: PromotionSpec, task: TrainingTask, field: str) -> PromotionSpec:
    """Return the conditions for a version of this task, by the task's own metric unless one is named.

    Raise InvalidInput for a metric that the task does not have.
    """
    metric = spec.metric or task.headline
    if metric not in task.metrics:
        known = ", ".join(task.metrics)
        raise InvalidInput.of(f"{field}.metric", f"must be one of {known} for {task.kind}, not {metric[:80]!r}")
    return replace(spec, metric=metric)


def check_promotion(spec: PromotionSpec, field: str, *, can_shadow: bool) -> None:
    """Raise InvalidInput naming every field with a condition that no gate can check."""
    if violations := tuple(_violations(spec, field, can_shadow=can_shadow)):
        raise InvalidInput(*violations)


def _violations(spec: PromotionSpec, field: str, *, can_shadow: bool) -> Iterator[Violation]:
    known = dict.fromkeys(name for task in TRAINING_TASKS.values() for name in task.metrics)
    if spec.metric and spec.metric not in known:
        yield Violation(f"{field}.metric", f"must be one of {', '.join(known)}, not {spec.metric[:80]!r}")
    for name, number in (("threshold", spec.threshold), ("min_delta", spec.min_delta)):
        if number is not None and not math.isfinite(number):
            yield Violation(f"{field}.{name}", f"must be a finite number, not {number}")
    if not 1 <= spec.min_rows <= _MAX_MIN_ROWS:
        yield Violation(f"{field}.min_rows", f"must be 1 to {_MAX_MIN_ROWS:,}, not {spec.min_rows}")
    if not 0 <= spec.shadow_min_rows <= _MAX_MIN_ROWS:
        yield Violation(f"{field}.shadow_min_rows", f"must be 0 to {_MAX_MIN_ROWS:,}, not {spec.shadow_min_rows}")
    if not 0 <= spec.shadow_seconds <= _MAX_SHADOW_SECONDS:
        yield Violation(f"{field}.shadow_for", f"must be 0 to {_MAX_SHADOW_SECONDS:,} seconds")
    elif spec.shadow_seconds and not can_shadow:
        reason = "needs an inference service to ask: start this service with MAAS_TRAINING_INFERENCE_ADDRESSES"
        yield Violation(f"{field}.shadow_for", reason)


def judge(
    spec: PromotionSpec,
    task: TrainingTask,
    metrics: Metrics | None,
    incumbent: Incumbent | None,
    left_out: LeftOut = LeftOut(),
) -> Verdict:
    """Say whether a version with these metrics passes; without an incumbent the threshold alone decides.

    A metric that has no value on these rows lets nothing pass, and neither does an incumbent that cannot be measured,
    nor fewer rows than were asked for.
    """
    figure = metrics.values.get(spec.metric) if metrics is not None else None
    num_rows = metrics.num_rows if metrics is not None else 0
    found = incumbent.difference if incumbent is not None else None
    reasons = [f"{spec.metric} {'has no value' if figure is None else _shown(figure)} on {_rows_text(metrics)}"]
    if left_out.num_rows:
        reasons.append(f"{left_out.num_rows} more are left out, as {_learners(incumbent)} learned from them")
    if left_out.unknown:
        reasons.append(f"which rows were learned from in {', '.join(left_out.unknown)} is not known any more")
    if incumbent is not None and found is not None and found.is_known:
        reasons.append(f"{incumbent.name} has {_shown(found.other)}; {noise_text(found)}")
    is_judged = incumbent is not None or spec.threshold is not None
    if incumbent is not None and incumbent.obstacle:
        obstacles = [incumbent.obstacle]
    elif is_judged and num_rows < spec.min_rows:
        obstacles = [_too_few(spec, num_rows, incumbent, left_out)]
    else:
        obstacles = list(_obstacles(spec, task.metrics[spec.metric], figure, incumbent))
    return Verdict(
        not obstacles,
        "; ".join([*reasons, *obstacles]),
        figure,
        incumbent.name.number if incumbent is not None else None,
        found.other if found is not None and math.isfinite(found.other) else None,
        num_rows,
        left_out.num_rows,
        found.interval if found is not None and found.is_known else None,
        found.p_value if found is not None else None,
        metrics is not None and metrics.split == CROSS_VALIDATION,
    )


def asked_text(spec: PromotionSpec) -> str:
    """Write what a version must be beside the one behind the alias, such as "no worse by more than 0.05"."""
    if spec.min_delta > 0:
        least = f"better by at least {spec.min_delta:g}"
        return f"{least}, and by more than that beyond noise" if spec.require is Requirement.BETTER else least
    if spec.require is Requirement.BETTER:
        return f"at most {-spec.min_delta:g} worse, noise included" if spec.min_delta else "better beyond noise"
    if spec.min_delta:
        return f"worse by at most {-spec.min_delta:g}"
    loss = "half a point" if _FORMS[spec.metric].is_share else "half a percent"
    return f"no worse beyond noise, and by at most {loss} within it"


def noise_text(found: Difference) -> str:
    """Say in words whether a difference is larger than noise, and by which test."""
    is_larger = found.is_better or found.is_worse
    test = f"p = {found.p_value:.2g} by McNemar's exact test, " if found.p_value is not None else ""
    low, high = (f"{bound:+.4g}" for bound in (found.interval.low, found.interval.high))
    return (
        f"the difference of {found.figure - found.other:+.4g} is {'larger' if is_larger else 'smaller'} than noise "
        f"({test}95 % interval {low} to {high})"
    )


def _rows_text(metrics: Metrics | None) -> str:
    if metrics is not None and metrics.split == CROSS_VALIDATION:
        return f"{metrics.num_rows} rows left out in cross-validation"
    return f"{metrics.num_rows if metrics is not None else 0} test rows"


def _shown(figure: float) -> str:
    """Write a metric with four decimals, or with four digits where decimals would hide them."""
    return f"{figure:.4f}" if figure == 0 or 0.001 <= abs(figure) < 10_000 else f"{figure:.4g}"


def _learners(incumbent: Incumbent | None) -> str:
    return f"{incumbent.name} or the new version" if incumbent is not None else "a base of the version"


def _too_few(spec: PromotionSpec, num_rows: int, incumbent: Incumbent | None, left_out: LeftOut) -> str:
    """Return the refusal for too few test rows, with advice."""
    todo = "add examples to the dataset"
    if left_out.num_rows and incumbent is not None:
        todo = f"fine-tune on the dataset of {incumbent.name}, or on one that appends to it and keeps its test rows"
    return f"{num_rows} rows are too few to judge by, as at least {spec.min_rows} are asked for (min_rows): {todo}"


def _obstacles(spec: PromotionSpec, form: Metric, figure: float | None, incumbent: Incumbent | None) -> Iterator[str]:
    """Yield the reasons against a version."""
    sign = -1 if form.is_better_lower else 1
    if figure is None:
        yield "nothing passes without one"
        return
    if spec.threshold is not None and sign * (figure - spec.threshold) < -_ROUNDING:
        yield f"{'at most' if sign < 0 else 'at least'} {spec.threshold:g} was asked for"
    if incumbent is None:
        return
    if incumbent.difference is None or not incumbent.difference.is_known:
        yield f"{incumbent.name} has no {spec.metric} on these rows"
    elif not _is_enough(spec, incumbent.difference, is_share=form.is_share):
        yield f"{asked_text(spec)} was asked for"


def _is_enough(spec: PromotionSpec, found: Difference, *, is_share: bool) -> bool:
    """Say whether a difference is what was asked for.

    Not worse is a version whose measured loss is smaller than noise and at most half a point. Noise alone would excuse
    a loss of many points on few rows. Within half a point, half of what counts as worse, either version may be chosen:
    an indifference zone (Bechhofer, A single-sample multiple decision procedure for ranking means of normal populations
    with known variances, 1954).
    """
    if spec.require is Requirement.BETTER:
        return found.exceeds(spec.min_delta)
    if spec.min_delta:
        return found.gain >= spec.min_delta - _ROUNDING
    most_loss = _MOST_LOSS if is_share else _MOST_LOSS * abs(found.other)
    return not found.is_worse and found.gain >= -most_loss - _ROUNDING
