"""How heads are fitted on embeddings by scikit-learn: one module a family, found in one dictionary."""

from __future__ import annotations

from collections.abc import Mapping

from training_service.heads.forest import RANDOM_FOREST
from training_service.heads.kind import FitRows, FittedKind, FittedTensors, Settings, averaged
from training_service.heads.linear_models import LOGISTIC_REGRESSION, RIDGE
from training_service.heads.naive_bayes import BERNOULLI, GAUSSIAN, MULTINOMIAL
from training_service.heads.neighbours import NEAREST_CENTROID, NEAREST_NEIGHBOURS
from training_service.heads.perceptron import MLP
from training_service.heads.svm import LINEAR_SVM, RBF_SVM
from training_service.heads.trees import GRADIENT_BOOSTING

HEADS: Mapping[str, FittedKind] = {
    "logistic_regression": LOGISTIC_REGRESSION,
    "ridge": RIDGE,
    "gaussian_nb": GAUSSIAN,
    "multinomial_nb": MULTINOMIAL,
    "bernoulli_nb": BERNOULLI,
    "linear_svm": LINEAR_SVM,
    "rbf_svm": RBF_SVM,
    "nearest_centroid": NEAREST_CENTROID,
    "nearest_neighbours": NEAREST_NEIGHBOURS,
    "mlp": MLP,
    "gradient_boosting": GRADIENT_BOOSTING,
    "random_forest": RANDOM_FOREST,
}
"""By the kind of the head; `average` is made of several."""

__all__ = ["HEADS", "FitRows", "FittedKind", "FittedTensors", "Settings", "averaged"]
