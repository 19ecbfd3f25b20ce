"""The gate lets nothing pass that is worse than what is there, whichever way its metric goes."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from model_store.errors import InvalidInput
from model_store.names import VersionName
from model_store.records.metrics import Interval, Metrics
from model_store.records.promotion import Promotion, PromotionSpec, PromotionState, Requirement, Verdict
from training_service.evaluation.difference import Difference
from training_service.promotion.gate import Incumbent, LeftOut, check_promotion, with_metric
from training_service.promotion.gate import judge as judged
from training_service.tasks import TRAINING_TASKS, TrainingTask

SPEC = PromotionSpec("production", "accuracy", min_rows=10)
CLASSIFICATION = TRAINING_TASKS["classification"]
NONE_LEFT_OUT = LeftOut()
FIELDS = ("metric", "threshold", "min_delta", "shadow_for", "min_rows", "shadow_min_rows")
THERE = VersionName("flowers", 3)


def metrics(accuracy: float, log_loss: float | None = 0.5) -> Metrics:
    """Return metrics of ten rows."""
    losses = {"log_loss": log_loss} if log_loss is not None else {}
    return Metrics("test", 10, {"accuracy": accuracy, "macro_f1": accuracy, **losses})


def incumbent(after: float, before: float, noise: float = 0.0, *, is_lower: bool = False) -> Incumbent:
    """Return what is behind the alias, and a difference from it that noise moves by at most so much."""
    interval = Interval(after - before - noise, after - before + noise)
    return Incumbent(THERE, Difference(after, before, interval, 10, is_lower))


def judge(
    spec: PromotionSpec, metrics: Metrics | None, there: Incumbent | None, left_out: LeftOut = NONE_LEFT_OUT
) -> Verdict:
    """Judge a classification."""
    return judged(spec, CLASSIFICATION, metrics, there, left_out)


@pytest.mark.parametrize(
    ("require", "min_delta", "before", "after", "noise", "passes"),
    [
        ("not_worse", 0.0, 0.8, 0.8, 0.0, True),
        ("not_worse", 0.0, 0.8, 0.795, 0.02, True),  # noise excuses half a point
        ("not_worse", 0.0, 0.8, 0.794, 0.02, False),
        ("not_worse", 0.0, 0.8, 0.795, 0.004, False),  # and without it nothing is excused
        ("not_worse", 0.1, 0.8, 0.9, 0.2, True),  # 0.9 - 0.8 is a little less than 0.1
        ("not_worse", 0.1, 0.8, 0.89, 0.2, False),  # noise excuses a loss, and makes no improvement
        ("not_worse", -0.05, 0.8, 0.76, 0.005, True),
        ("not_worse", -0.05, 0.8, 0.74, 0.005, False),
        ("not_worse", -0.05, 0.8, 0.74, 0.02, False),
        ("not_worse", -0.05, 0.8, 0.75, 0.02, True),
        ("better", 0.0, 0.8, 0.8, 0.0, False),
        ("better", 0.0, 0.8, 0.81, 0.02, False),
        ("better", 0.0, 0.8, 0.81, 0.005, True),
        ("better", 0.1, 0.8, 0.91, 0.02, False),
        ("better", 0.1, 0.8, 0.91, 0.005, True),
        ("better", -0.05, 0.8, 0.79, 0.02, True),
        ("better", -0.05, 0.8, 0.79, 0.05, False),
    ],
)
def test_what_is_asked_for_must_be_so_beyond_noise(
    require: str,
    min_delta: float,
    before: float,
    after: float,
    noise: float,
    passes: bool,  # noqa: FBT001
) -> None:
    """Both figures are in the verdict and in its reason, and whether the difference is noise."""
    spec = replace(SPEC, min_delta=min_delta, require=Requirement(require))
    verdict = judge(spec, metrics(after), incumbent(after, before, noise))
    assert verdict.passes is passes
    assert (verdict.figure, verdict.incumbent, verdict.incumbent_figure) == (after, 3, before)
    assert f"{after:.4f}" in verdict.reason
    assert f"{before:.4f}" in verdict.reason
    assert str(THERE) in verdict.reason
    assert f"is {'larger' if abs(after - before) > noise else 'smaller'} than noise" in verdict.reason
    assert verdict.interval is not None


@pytest.mark.parametrize(("after", "passes"), [(0.4, True), (0.5, False), (0.6, False)])
def test_a_loss_must_be_lower(after: float, passes: bool) -> None:  # noqa: FBT001
    """Of some metrics less is more."""
    for spec in (
        replace(SPEC, metric="log_loss", min_delta=0.05),
        replace(SPEC, metric="log_loss", require=Requirement.BETTER),
    ):
        assert judge(spec, metrics(0.9, after), incumbent(after, 0.5, is_lower=True)).passes is passes


@pytest.mark.parametrize(("metric", "threshold", "passes"), [("accuracy", 0.9, True), ("accuracy", 0.91, False)])
def test_a_threshold_stands_for_itself(metric: str, threshold: float, passes: bool) -> None:  # noqa: FBT001
    """Without an incumbent it alone decides, and beside one it must be reached too, noise or not."""
    spec = replace(SPEC, metric=metric, threshold=threshold)
    assert judge(spec, metrics(0.9), None).passes is passes
    assert judge(spec, metrics(0.9), incumbent(0.9, 0.5, 0.2)).passes is passes


def test_a_threshold_of_a_loss_is_the_most_it_may_be() -> None:
    """As less of it is better."""
    spec = replace(SPEC, metric="log_loss", threshold=0.5)
    assert judge(spec, metrics(0.9, 0.5), None).passes
    assert not judge(spec, metrics(0.9, 0.51), None).passes


def test_the_first_version_passes_without_a_threshold() -> None:
    """There is nothing that it could make worse, or be better than."""
    for require in Requirement:
        verdict = judge(replace(SPEC, require=require), metrics(0.1), None)
        assert (verdict.passes, verdict.incumbent, verdict.interval) == (True, None, None)


def test_what_cannot_be_compared_does_not_pass() -> None:
    """Neither beside an incumbent that cannot be measured, nor by a figure that has no value."""
    away = judge(SPEC, metrics(1.0), Incumbent(THERE, None, "it takes no images"))
    assert (away.passes, "takes no images" in away.reason) == (False, True)
    spec = replace(SPEC, metric="log_loss")
    assert not judge(spec, metrics(1.0), incumbent(0.5, math.nan)).passes
    nothing = judge(spec, metrics(1.0, None), incumbent(math.nan, 0.5))
    assert (nothing.passes, nothing.figure) == (False, None)


def test_a_verdict_of_an_earlier_service_is_read() -> None:
    """It knows no interval, and its conditions no requirement."""
    verdict = {"passes": True, "reason": "", "figure": 0.5, "incumbent": 1, "incumbent_figure": 0.4}
    values = {"state": "promoted", "verdict": verdict, "reason": "", "updated_at": "2026-01-01T00:00:00+00:00"}
    assert Promotion.from_json({**values, "until": None}).verdict.interval is None
    conditions = {name: value for name, value in SPEC.to_json().items() if name != "require"}
    assert PromotionSpec.from_json(conditions).require is Requirement.NOT_WORSE


def test_what_is_written_is_read() -> None:
    """With the figures of the test."""
    verdict = judge(SPEC, metrics(0.9), incumbent(0.9, 0.8, 0.2))
    promotion = Promotion(PromotionState.PROMOTED, verdict, "", datetime.now(UTC))
    assert Promotion.from_json(json.loads(json.dumps(promotion.to_json()))) == promotion
    spec = replace(SPEC, require=Requirement.BETTER)
    assert PromotionSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_all_that_is_wrong_is_named() -> None:
    """Each by its field."""
    wrong = PromotionSpec("Not An Id", "beauty", math.nan, math.inf, -1, 0, -1)
    with pytest.raises(InvalidInput) as caught:
        check_promotion(wrong, "promote", can_shadow=True)
    fields = {each.field for each in caught.value.violations}
    assert fields == {f"promote.{name}" for name in FIELDS}
    with pytest.raises(InvalidInput, match="INFERENCE_ADDRESSES"):
        check_promotion(replace(SPEC, shadow_seconds=1), "promote", can_shadow=False)
    for metric in ("", *(name for task in TRAINING_TASKS.values() for name in task.metrics)):
        check_promotion(replace(SPEC, metric=metric, shadow_seconds=1), "promote", can_shadow=True)


@pytest.mark.parametrize("task", TRAINING_TASKS.values(), ids=list(TRAINING_TASKS))
def test_a_gate_goes_by_the_metrics_of_the_task(task: TrainingTask) -> None:
    """By the one that sums it up where none is named; one of another task is refused, naming those that it has."""
    assert with_metric(replace(SPEC, metric=""), task, "promote").metric == task.headline
    for metric in task.metrics:
        assert with_metric(replace(SPEC, metric=metric), task, "promote").metric == metric
    others = {name for each in TRAINING_TASKS.values() for name in each.metrics} - set(task.metrics)
    for metric in others:
        with pytest.raises(InvalidInput, match=f"one of {', '.join(task.metrics)} for {task.kind}") as caught:
            with_metric(replace(SPEC, metric=metric), task, "promote")
        assert [each.field for each in caught.value.violations] == ["promote.metric"]


@pytest.mark.parametrize(("metric", "better", "worse"), [("r2", 0.9, 0.8), ("rmse", 10.0, 11.0), ("mae", 1.0, 2.0)])
def test_a_regression_is_judged_by_its_errors(metric: str, better: float, worse: float) -> None:
    """An error must be lower, and R2 higher."""
    spec, task = replace(SPEC, metric=metric), TRAINING_TASKS["regression"]
    for after, before in ((better, worse), (worse, better)):
        there = incumbent(after, before, is_lower=task.metrics[metric].is_better_lower)
        assert judged(spec, task, Metrics("test", 10, {metric: after}), there).passes is (after == better)


def test_too_few_rows_are_not_judged() -> None:
    """Whatever the figures are; what is left out, or not known, is said."""
    many = replace(SPEC, min_rows=11)
    few = judge(many, metrics(1.0), incumbent(1.0, 0.5), LeftOut(30, ("datasets/gone",)))
    assert (few.passes, few.num_rows, few.num_left_out, few.figure) == (False, 10, 30, 1.0)
    for text in ("30 more are left out", "datasets/gone", "at least 11", "appends to it"):
        assert text in few.reason
    assert "add examples" in judge(many, metrics(1.0), incumbent(1.0, 0.5)).reason
    assert not judge(replace(many, threshold=0.5), metrics(1.0), None).passes
    assert judge(many, metrics(1.0), None).passes, "there is nothing to judge"
    nothing = judge(SPEC, None, Incumbent(THERE, None), LeftOut(10))
    assert (nothing.passes, nothing.figure, nothing.num_rows) == (False, None, 0)


@pytest.mark.parametrize(("figure", "text"), [(3e-7, "rmse 3e-07"), (123456.0, "rmse 1.235e+05"), (0.5, "rmse 0.5000")])
def test_a_figure_of_any_size_can_be_read(figure: float, text: str) -> None:
    """Errors of targets are in the targets' own units: four decimals would hide a small one."""
    spec = PromotionSpec("production", "rmse", min_rows=10)
    assert text in judged(spec, TRAINING_TASKS["regression"], Metrics("test", 10, {"rmse": figure}), None).reason
