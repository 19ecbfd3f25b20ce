"""The stages of heads that are fitted on embeddings: one module a family, found in one dictionary."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from model_store.architectures.head import Head
from model_store.architectures.heads.affine import Affine
from model_store.architectures.heads.average import Average
from model_store.architectures.heads.naive_bayes import GaussianNaiveBayes, LinearNaiveBayes
from model_store.architectures.heads.neighbours import NearestCentroid, NearestNeighbours
from model_store.architectures.heads.perceptron import Perceptron
from model_store.architectures.heads.stage import HeadStage
from model_store.architectures.heads.svm import LinearSvm, RbfSvm
from model_store.architectures.heads.trees import BoostedTrees, Forest

_PARTS: Mapping[str, Callable[[int, Head], HeadStage]] = {
    "logistic_regression": Affine,
    "ridge": Affine,
    "gaussian_nb": GaussianNaiveBayes,
    "multinomial_nb": LinearNaiveBayes,
    "bernoulli_nb": LinearNaiveBayes,
    "linear_svm": LinearSvm,
    "rbf_svm": RbfSvm,
    "nearest_centroid": NearestCentroid,
    "nearest_neighbours": NearestNeighbours,
    "mlp": Perceptron,
    "gradient_boosting": BoostedTrees,
    "random_forest": Forest,
}
HEADS: Mapping[str, Callable[[int, Head], HeadStage | Average]] = {
    **_PARTS,
    "average": lambda size, head: Average(size, head, _PARTS),
}
"""By kind: the stage for embeddings of a size, its tensors empty."""


def fitted_head(size: int, head: Head, reads: str) -> HeadStage | Average:
    """Return the stage of a fitted head, its tensors empty, for embeddings [n, size] in the batch's tensor `reads`."""
    stage = HEADS[head.kind](size, head)
    stage.reads = (reads,)
    stage.check_arguments()
    return stage


__all__ = ["HEADS", "HeadStage", "fitted_head"]
