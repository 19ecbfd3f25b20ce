"""A small multilayer perceptron by scikit-learn, on standardised embeddings."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from training_service.heads.kind import FitRows, FittedKind, FittedTensors, Settings, chosen_or, exclusive, float64
from training_service.recipes.recipe import Recipe

_STRENGTHS = (1.0, 100.0, 10_000.0)
_WIDTH = 64
_MAX_ITERATIONS = 300


def _settings(recipe: Recipe, rows: FitRows) -> Sequence[Settings]:  # noqa: ARG001  the same for all
    width = recipe.hidden_width or _WIDTH
    return [{"strength": each, "hidden_width": width} for each in chosen_or(recipe.strength, _STRENGTHS)]


def _fit(rows: FitRows, settings: Settings) -> FittedTensors:
    """Fit `MLPClassifier` or `MLPRegressor` with one hidden layer and `alpha` 1 / strength.

    Targets of a regression are standardised for the fit, and the standardisation is folded into the last layer.
    """
    from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415  a second to import, and services fit no head
    from sklearn.neural_network import MLPClassifier, MLPRegressor  # noqa: PLC0415  as above
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415  as above

    scaler = StandardScaler().fit(rows.features)
    targets = rows.targets if rows.is_exclusive else rows.scaled_numbers if rows.is_regression else rows.targets > 0
    model = (MLPRegressor if rows.is_regression else MLPClassifier)(
        hidden_layer_sizes=(settings["hidden_width"],),
        alpha=1 / settings["strength"],
        max_iter=_MAX_ITERATIONS,
        random_state=rows.seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the last iteration is kept, as any other
        model.fit(
            scaler.transform(rows.features), np.squeeze(targets, axis=1) if targets.shape[1:] == (1,) else targets
        )
    hidden, weight = model.coefs_[0].T, model.coefs_[1].T
    hidden_bias, bias = model.intercepts_
    shared = {"mean": scaler.mean_, "scale": scaler.scale_, "hidden_weight": hidden, "hidden_bias": hidden_bias}
    if rows.is_exclusive:
        if len(model.classes_) == 2:  # one output, for the second label against the first
            weight, bias = np.concatenate([np.zeros_like(weight), weight]), np.array([0.0, bias[0]])
        found = exclusive(model.classes_, **shared, weight=weight, bias=bias)
        return FittedTensors({**found.arguments, "width": len(hidden)}, found.tensors)
    if rows.is_regression:
        weight, bias = weight * rows.deviation[:, None], bias * rows.deviation + rows.mean
    numbers = {**shared, "weight": weight, "bias": bias}
    return FittedTensors({"width": len(hidden)}, {name: float64(each) for name, each in numbers.items()})


MLP = FittedKind(_settings, _fit)
