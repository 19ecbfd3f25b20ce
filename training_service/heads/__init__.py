"""How heads are fitted on embeddings by scikit-learn: one module a family, found in one dictionary."""

from __future__ import annotations

from collections.abc import Mapping

from training_service.heads.kind import FitRows, FittedKind, FittedTensors, Settings
from training_service.heads.linear_models import LOGISTIC_REGRESSION, RIDGE
from training_service.heads.naive_bayes import GAUSSIAN

HEADS: Mapping[str, FittedKind] = {
    "logistic_regression": LOGISTIC_REGRESSION,
    "ridge": RIDGE,
    "gaussian_nb": GAUSSIAN,
}
"""By the kind of the head."""

__all__ = ["HEADS", "FitRows", "FittedKind", "FittedTensors", "Settings"]
