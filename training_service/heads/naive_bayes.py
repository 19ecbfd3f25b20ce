"""Naive Bayes by scikit-learn: one classifier of all labels, or one for each label of a multi-label task."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

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
from training_service.recipes.recipe import Recipe

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


GAUSSIAN = FittedKind(_variance_smoothings, _gaussian)
