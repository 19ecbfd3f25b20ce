"""The heads that are fitted on frozen features, and the names of their hyperparameters."""

from __future__ import annotations

from enum import StrEnum


class HeadName(StrEnum):
    """The heads that `fit_head` fits on frozen features."""

    LOGISTIC_REGRESSION = "logistic_regression"
    RIDGE = "ridge"
    GAUSSIAN_NB = "gaussian_nb"
    MULTINOMIAL_NB = "multinomial_nb"
    BERNOULLI_NB = "bernoulli_nb"
    LINEAR_SVM = "linear_svm"
    RBF_SVM = "rbf_svm"
    NEAREST_CENTROID = "nearest_centroid"
    NEAREST_NEIGHBOURS = "nearest_neighbours"
    MLP = "mlp"
    GRADIENT_BOOSTING = "gradient_boosting"
    RANDOM_FOREST = "random_forest"
    AVERAGE = "average"


class NeighbourWeights(StrEnum):
    """What each of the nearest neighbours counts."""

    UNIFORM = "uniform"
    DISTANCE = "distance"


HEAD_FIELDS = frozenset({
    "strength", "smoothing", "presence_threshold", "gamma", "neighbour_count", "neighbour_weights", "hidden_width",
    "tree_count", "tree_learning_rate", "leaf_count", "forest_tree_count", "leaf_row_count",
})  # fmt: skip
"""The hyperparameters of heads; each head has some of them."""
