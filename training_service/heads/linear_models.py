"""Logistic and ridge regression on standardised embeddings; the standardisation is folded into the weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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
from training_service.tasks.training_task import Numbers

_MAX_ITERATIONS = 500


def _strengths(recipe: Recipe, rows: FitRows) -> Sequence[Settings]:
    return [{"strength": each} for each in chosen_or(recipe.strength, rows.strengths)]


def _logistic(rows: FitRows, settings: Settings) -> FittedTensors:
    """Fit `LogisticRegression(C=strength)`, one of all labels or one for each label, on standardised columns."""
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415  a second to import, and services fit no head
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415  as above

    scaler = StandardScaler().fit(rows.features)
    scaled = scaler.transform(rows.features)

    def fitted(targets: Any) -> Any:  # noqa: ANN401  scikit-learn carries no types
        model = LogisticRegression(
            C=settings["strength"], max_iter=_MAX_ITERATIONS, class_weight=rows.class_weight, random_state=rows.seed
        )
        return model.fit(scaled, targets)

    if rows.is_exclusive:
        model = fitted(rows.targets)
        weight, bias = model.coef_, model.intercept_
        if len(model.classes_) == 2:  # one row of weights, for the second label against the first
            weight, bias = np.concatenate([np.zeros_like(weight), weight]), np.array([0.0, bias[0]])
        weight, bias = folded(weight, bias, scaler)
        return exclusive(model.classes_, weight=weight, bias=bias)
    weight, bias = np.zeros((rows.num_outputs, scaled.shape[1])), np.empty(rows.num_outputs)
    for label, own in rows.labels():
        if is_constant(own):
            bias[label] = constant_logit(own)
        else:
            model = fitted(own)
            weight[label], bias[label] = model.coef_[0], model.intercept_[0]
    return affine(*folded(weight, bias, scaler))


def _ridge(rows: FitRows, settings: Settings) -> FittedTensors:
    """Fit `Ridge(alpha=1 / strength)` of all targets on standardised columns."""
    from sklearn.linear_model import Ridge  # noqa: PLC0415  as above
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415  as above

    scaler = StandardScaler().fit(rows.features)
    model = Ridge(alpha=1 / settings["strength"]).fit(scaler.transform(rows.features), rows.numbers)
    weight = model.coef_.reshape(rows.num_outputs, -1)
    return affine(*folded(weight, np.broadcast_to(model.intercept_, rows.num_outputs), scaler))


def folded(weight: Numbers, bias: Numbers, scaler: Any) -> tuple[Numbers, Numbers]:  # noqa: ANN401  a StandardScaler
    """Return weight [r, d] and bias [r] for columns that are not standardised.

    (x - m) / s @ w + b = x @ (w / s) + (b - m @ (w / s)).
    """
    own = weight / scaler.scale_
    return own, bias - own @ scaler.mean_


def affine(weight: Numbers, bias: Numbers) -> FittedTensors:
    """Return the tensors of a head whose outputs are x @ weight.T + bias."""
    return FittedTensors({}, {"weight": float64(weight), "bias": float64(bias)})


LOGISTIC_REGRESSION = FittedKind(_strengths, _logistic)
RIDGE = FittedKind(_strengths, _ridge)
