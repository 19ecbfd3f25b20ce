"""Regression: each row has a number for each of the targets."""

from __future__ import annotations

from functools import partial

from training_service.tasks.cross_validation import spread_folds
from training_service.tasks.regression.matching import match
from training_service.tasks.regression.metrics import measure, row_losses, sampled, validate
from training_service.tasks.regression.report import describe_targets, mistakes, sections
from training_service.tasks.regression.training import (
    STRENGTHS,
    baseline,
    calibrated,
    fit_head,
    guessing_loss,
    make_loss,
)
from training_service.tasks.target_scale import TargetScale
from training_service.tasks.training_task import Metric, TrainingTask

REGRESSION = TrainingTask(
    kind="regression",
    headline="r2",
    metrics={
        "r2": Metric("R2", partial(sampled, name="r2"), is_share=False),
        "rmse": Metric("RMSE", partial(sampled, name="rmse"), is_better_lower=True, is_share=False, is_quantity=True),
        "mae": Metric("MAE", partial(sampled, name="mae"), is_better_lower=True, is_share=False, is_quantity=True),
    },
    has_classes=False,
    strengths=STRENGTHS,
    make_loss=make_loss,
    guessing_loss=guessing_loss,
    row_losses=row_losses,
    folds=spread_folds,
    validate=validate,
    scale=TargetScale.of,
    fit_head=fit_head,
    calibrated=calibrated,
    measure=measure,
    baseline=baseline,
    match=match,
    sections=sections,
    mistakes=mistakes,
    describe_targets=describe_targets,
)
