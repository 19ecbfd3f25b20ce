"""Classification: each row has one of the labels."""

from __future__ import annotations

from training_service.tasks.classification import sampled
from training_service.tasks.classification.matching import match
from training_service.tasks.classification.metrics import is_among_best, is_best, measure, row_losses, validate
from training_service.tasks.classification.report import mistakes, sections
from training_service.tasks.classification.training import (
    STRENGTHS,
    baseline,
    calibrated,
    fit_head,
    guessing_loss,
    make_loss,
)
from training_service.tasks.cross_validation import label_folds
from training_service.tasks.sections import label_counts
from training_service.tasks.training_task import Metric, TrainingTask

CLASSIFICATION = TrainingTask(
    kind="classification",
    headline="accuracy",
    metrics={
        "accuracy": Metric("Accuracy", sampled.accuracy, is_best),
        "macro_f1": Metric("Macro F1", sampled.macro_f1),
        "top5_accuracy": Metric("Top-5 accuracy", sampled.top5_accuracy, is_among_best),
        "roc_auc": Metric("ROC AUC", sampled.roc_auc),
        "log_loss": Metric("Log loss", sampled.log_loss, is_better_lower=True, is_share=False, unit="nats"),
        "expected_calibration_error": Metric("Calibration error", sampled.calibration_error, is_better_lower=True),
        "uncalibrated_error": Metric(
            "Calibration error before scaling", sampled.uncalibrated_error, is_better_lower=True
        ),
    },
    has_classes=True,
    strengths=STRENGTHS,
    make_loss=make_loss,
    guessing_loss=guessing_loss,
    row_losses=row_losses,
    folds=label_folds,
    validate=validate,
    scale=lambda _: None,
    fit_head=fit_head,
    calibrated=calibrated,
    measure=measure,
    baseline=baseline,
    match=match,
    sections=sections,
    mistakes=mistakes,
    describe_targets=label_counts,
)
