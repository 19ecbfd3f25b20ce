"""Multi-label: each row has any number of the labels."""

from __future__ import annotations

from training_service.tasks.classification.training import STRENGTHS
from training_service.tasks.cross_validation import spread_folds
from training_service.tasks.multi_label import sampled
from training_service.tasks.multi_label.matching import match
from training_service.tasks.multi_label.metrics import is_exact, mean_losses, measure, validate
from training_service.tasks.multi_label.report import mistakes, sections
from training_service.tasks.multi_label.training import baseline, calibrated, fit_head, guessing_loss, make_loss
from training_service.tasks.sections import label_counts
from training_service.tasks.training_task import Metric, TrainingTask

MULTI_LABEL = TrainingTask(
    kind="multi_label",
    headline="macro_f1",
    metrics={
        "macro_f1": Metric("Macro F1", sampled.macro_f1),
        "micro_f1": Metric("Micro F1", sampled.micro_f1),
        "mean_average_precision": Metric("Mean average precision", sampled.mean_average_precision),
        "subset_accuracy": Metric("Subset accuracy", sampled.subset_accuracy, is_exact),
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
    row_losses=mean_losses,
    folds=spread_folds,
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
