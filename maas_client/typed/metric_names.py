"""The metrics that a promotion can be decided by, for each task, its own first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

_OF_SCORES = ("log_loss", "expected_calibration_error", "uncalibrated_error")
METRICS: Mapping[str, Sequence[str]] = {
    "classification": ("accuracy", "macro_f1", "top5_accuracy", "roc_auc", *_OF_SCORES),
    "multi_label": ("macro_f1", "micro_f1", "mean_average_precision", "subset_accuracy", *_OF_SCORES),
    "regression": ("r2", "rmse", "mae"),
}
"""By task; a test holds that they are the service's."""
