"""Naive Bayes by scikit-learn: one classifier of all labels, or one for each label of a multi-label task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from model_store.errors import InvalidInput
from training_service.heads.kind import (
    FitRows,
    FittedKind,
    FittedTensors,
    Settings,
    chosen_or,
    constant_logit,
    exclusive,
    float64,
    is_constant,
)
from training_service.heads.linear_models import affine
from training_service.recipes.recipe import Recipe
from training_service.tasks.training_task import Numbers

_COUNT_SMOOTHINGS = (1e-3, 1e-2, 0.1, 1.0, 10.0)

_VARIANCE_SMOOTHINGS = (1e-9, 1e-6, 1e-4, 1e-3, 1e-2, 0.1, 1.0)


def _variance_smoothings(recipe: Recipe, rows: FitRows) -> Sequence[Settings]:  # noqa: ARG001  the same for all
    return [{"smoothing": each} for each in chosen_or(recipe.smoothing, _VARIANCE_SMOOTHINGS)]


def _gaussian(rows: FitRows, settings: Settings) -> FittedTensors:
    """Fit `GaussianNB(var_smoothing=smoothing)`."""
    from sklearn.naive_bayes import GaussianNB  # noqa: PLC0415  a second to import, and services fit no head

    smoothing = settings["smoothing"]
    if rows.is_exclusive:
        model = GaussianNB(var_smoothing=smoothing).fit(rows.features, rows.targets)
        return exclusive(model.classes_, mean=model.theta_, variance=model.var_, log_prior=np.log(model.class_prior_))
    size = rows.features.shape[1]
    mean, variance = np.zeros((rows.num_outputs, 2, size)), np.ones((rows.num_outputs, 2, size))
    log_prior = np.zeros((rows.num_outputs, 2))
    for label, own in rows.labels():
        if is_constant(own):
            log_prior[label, 1] = constant_logit(own)
        else:
            model = GaussianNB(var_smoothing=smoothing).fit(rows.features, own)
            mean[label], variance[label] = model.theta_, model.var_
            log_prior[label] = np.log(model.class_prior_)
    tensors = {"mean": mean.reshape(-1, size), "variance": variance.reshape(-1, size), "log_prior": log_prior.ravel()}
    return FittedTensors({}, {name: float64(each) for name, each in tensors.items()})


def _smoothings(recipe: Recipe, rows: FitRows) -> Sequence[Settings]:  # noqa: ARG001  as above
    return [{"smoothing": each} for each in chosen_or(recipe.smoothing, _COUNT_SMOOTHINGS)]


def _multinomial(rows: FitRows, settings: Settings) -> FittedTensors:
    """Fit `MultinomialNB(alpha=smoothing)`; raise InvalidInput for features below 0."""
    from sklearn.naive_bayes import MultinomialNB  # noqa: PLC0415  as above

    if (rows.features < 0).any():
        column = int(np.flatnonzero((rows.features < 0).any(axis=0))[0])
        raise InvalidInput.of("head", f"multinomial_nb counts: feature {column} is below 0 in some training rows")
    return _linear(rows, lambda: MultinomialNB(alpha=settings["smoothing"]), _of_counts)


def _bernoulli_settings(recipe: Recipe, rows: FitRows) -> Sequence[Settings]:
    return [{**each, "presence_threshold": recipe.presence_threshold or 0.0} for each in _smoothings(recipe, rows)]


def _bernoulli(rows: FitRows, settings: Settings) -> FittedTensors:
    """Fit `BernoulliNB(alpha=smoothing, binarize=threshold)`."""
    from sklearn.naive_bayes import BernoulliNB  # noqa: PLC0415  as above

    threshold = settings["presence_threshold"]
    found = _linear(rows, lambda: BernoulliNB(alpha=settings["smoothing"], binarize=threshold), _of_presence)
    return FittedTensors(found.arguments, {**found.tensors, "threshold": float64(threshold)})


def _linear(
    rows: FitRows, make: Callable[[], Any], weights_of: Callable[[Any], tuple[Numbers, Numbers]]
) -> FittedTensors:
    """Fit one model of all labels, or one for each, whose joint log likelihoods are weighted sums."""
    if rows.is_exclusive:
        model = make().fit(rows.features, rows.targets)
        weight, bias = weights_of(model)
        return exclusive(model.classes_, weight=weight, bias=bias)
    weight, bias = np.zeros((rows.num_outputs, rows.features.shape[1])), np.zeros(rows.num_outputs)
    for label, own in rows.labels():
        if is_constant(own):
            bias[label] = constant_logit(own)
        else:
            found = weights_of(make().fit(rows.features, own))
            weight[label], bias[label] = (each[1] - each[0] for each in found)
    return affine(weight, bias)


def _of_counts(model: Any) -> tuple[Numbers, Numbers]:  # noqa: ANN401  scikit-learn carries no types
    return model.feature_log_prob_, model.class_log_prior_


def _of_presence(model: Any) -> tuple[Numbers, Numbers]:  # noqa: ANN401  as above
    """Return the weights of present features: log p - log(1 - p), and the sum of log(1 - p) in the bias."""
    present = model.feature_log_prob_
    absent = np.log1p(-np.exp(present))
    return present - absent, model.class_log_prior_ + absent.sum(axis=1)


MULTINOMIAL = FittedKind(_smoothings, _multinomial)
BERNOULLI = FittedKind(_bernoulli_settings, _bernoulli)
GAUSSIAN = FittedKind(_variance_smoothings, _gaussian)
