"""Support vector machines on standardised embeddings, with Platt scaling by cross-validation."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

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
from training_service.heads.linear_models import folded
from training_service.recipes.recipe import Recipe

_LINEAR_STRENGTHS = (0.001, 0.01, 0.1, 1.0)
_RBF_STRENGTHS = (0.3, 1.0, 3.0, 10.0, 30.0)
_MAX_ITERATIONS = 10_000
_NUM_FOLDS = 5
_MIN_FOLDS = 2
_EPSILON = 0.1


def _linear_settings(recipe: Recipe, rows: FitRows) -> Sequence[Settings]:  # noqa: ARG001  the same for all
    return [{"strength": each} for each in chosen_or(recipe.strength, _LINEAR_STRENGTHS)]


def _rbf_settings(recipe: Recipe, rows: FitRows) -> Sequence[Settings]:
    """Return strengths, with scikit-learn's `scale` for gamma: 1 / the number of standardised columns that vary."""
    varying = int((np.ptp(rows.features, axis=0) > 0).sum())
    gamma = recipe.gamma if recipe.gamma is not None else 1 / max(varying, 1)
    return [{"strength": each, "gamma": gamma} for each in chosen_or(recipe.strength, _RBF_STRENGTHS)]


def _linear(rows: FitRows, settings: Settings) -> FittedTensors:
    """Fit `LinearSVC`, one against the rest, or `LinearSVR` of each target."""
    from sklearn.svm import LinearSVC, LinearSVR  # noqa: PLC0415  a second to import, and services fit no head

    fixed = {"C": settings["strength"], "max_iter": _MAX_ITERATIONS, "random_state": rows.seed, "dual": "auto"}
    scaler, scaled = _standardised(rows)
    if rows.is_regression:
        of_targets = {**fixed, "epsilon": _EPSILON, "loss": "squared_epsilon_insensitive"}
        models = [LinearSVR(**of_targets).fit(scaled, target) for target in rows.scaled_numbers.T]
        weight, bias = np.stack([each.coef_.ravel() for each in models]), np.array([_number(each) for each in models])
        weight, bias = folded(weight * rows.deviation[:, None], bias * rows.deviation + rows.mean, scaler)
        return FittedTensors({}, {"weight": float64(weight), "bias": float64(bias)})

    def make() -> Any:  # noqa: ANN401  scikit-learn carries no types
        return LinearSVC(**fixed, class_weight=rows.class_weight)

    if rows.is_exclusive:
        model, slope, offset = _calibrated(make, scaled, rows.targets)
        weight, bias = folded(model.coef_, model.intercept_, scaler)
        return exclusive(model.classes_, weight=weight, bias=bias, slope=slope, offset=offset)
    weight, bias = np.zeros((rows.num_outputs, scaled.shape[1])), np.zeros(rows.num_outputs)
    slope, offset = np.zeros(rows.num_outputs), np.zeros(rows.num_outputs)
    for label, own in rows.labels():
        if is_constant(own):
            offset[label] = -constant_logit(own)
        else:
            model, slope[label : label + 1], offset[label : label + 1] = _calibrated(make, scaled, own)
            weight[label], bias[label] = model.coef_[0], model.intercept_[0]
    weight, bias = folded(weight, bias, scaler)
    numbers = {"weight": weight, "bias": bias, "slope": slope, "offset": offset}
    return FittedTensors({}, {name: float64(each) for name, each in numbers.items()})


def _rbf(rows: FitRows, settings: Settings) -> FittedTensors:
    """Fit `SVC`, or one for each label, or `SVR` of each target."""
    from sklearn.svm import SVC, SVR  # noqa: PLC0415  as above

    fixed = {"C": settings["strength"], "gamma": settings["gamma"], "cache_size": 500}
    scaler, scaled = _standardised(rows)
    shared = {"mean": scaler.mean_, "scale": scaler.scale_, "gamma": settings["gamma"]}

    def make() -> Any:  # noqa: ANN401  scikit-learn carries no types
        return SVC(**fixed, class_weight=rows.class_weight)

    if rows.is_exclusive:
        model, slope, offset = _calibrated(make, scaled, rows.targets)
        found = exclusive(
            model.classes_,
            **shared,
            vectors=model.support_vectors_,
            dual=model.dual_coef_,
            intercept=model.intercept_,
            slope=slope,
            offset=offset,
        )
        owner = {} if len(model.classes_) == 2 else {"owner": _owners(model)}
        arguments = {**found.arguments, "vectors": len(model.support_vectors_)}
        return FittedTensors(arguments, {**found.tensors, **owner})
    dual, intercept = np.zeros((rows.num_outputs, len(scaled))), np.zeros(rows.num_outputs)
    slope, offset = np.zeros(rows.num_outputs), np.zeros(rows.num_outputs)
    if rows.is_regression:
        for target, numbers in enumerate(rows.scaled_numbers.T):
            model = SVR(**fixed, epsilon=_EPSILON).fit(scaled, numbers)
            dual[target, model.support_] = model.dual_coef_[0] * rows.deviation[target]
            intercept[target] = model.intercept_[0] * rows.deviation[target] + rows.mean[target]
    else:
        for label, own in rows.labels():
            if is_constant(own):
                offset[label] = -constant_logit(own)
            else:
                model, slope[label : label + 1], offset[label : label + 1] = _calibrated(make, scaled, own)
                dual[label, model.support_], intercept[label] = model.dual_coef_[0], model.intercept_[0]
        shared |= {"slope": slope, "offset": offset}
    used = np.flatnonzero(dual.any(axis=0)) if dual.any() else np.zeros(1, np.int64)
    shared |= {"vectors": scaled[used], "dual": dual[:, used], "intercept": intercept}
    return FittedTensors({"vectors": len(used)}, {name: float64(each) for name, each in shared.items()})


def _standardised(rows: FitRows) -> tuple[Any, Any]:
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415  as above

    scaler = StandardScaler().fit(rows.features)
    return scaler, scaler.transform(rows.features)


def _calibrated(make: Callable[[], Any], scaled: Any, targets: Any) -> tuple[Any, Any, Any]:  # noqa: ANN401  as above
    """Fit on all rows; return the model, and slope and offset of the sigmoid of each of its decision values.

    The sigmoids are `CalibratedClassifierCV`'s: of decision values of left-out rows, by cross-validation in five folds,
    or in as many as the rarest label has rows. A label of a single row leaves none out: they are those of all rows.
    """
    from sklearn.calibration import CalibratedClassifierCV  # noqa: PLC0415  as above
    from sklearn.frozen import FrozenEstimator  # noqa: PLC0415  as above

    rarest = int(np.unique(targets, return_counts=True)[1].min())
    if rarest >= _MIN_FOLDS:
        num_folds = min(_NUM_FOLDS, rarest)
        fitted = CalibratedClassifierCV(make(), method="sigmoid", cv=num_folds, ensemble=False).fit(scaled, targets)
        (found,) = fitted.calibrated_classifiers_
        model = found.estimator
    else:
        model = make().fit(scaled, targets)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of the folds, which change nothing of a frozen model
            fitted = CalibratedClassifierCV(FrozenEstimator(model), method="sigmoid", ensemble=False)
            fitted.fit(scaled, targets)
        (found,) = fitted.calibrated_classifiers_
    sigmoids = found.calibrators
    return model, np.array([each.a_ for each in sigmoids]), np.array([each.b_ for each in sigmoids])


def _owners(model: Any) -> Tensor:  # noqa: ANN401  as above
    """Return which label each support vector has, by its place among those that were seen."""
    return torch.from_numpy(np.repeat(np.arange(len(model.classes_)), model.n_support_).astype(np.int64))


def _number(model: Any) -> float:  # noqa: ANN401  as above
    return float(np.ravel(model.intercept_)[0])


LINEAR_SVM = FittedKind(_linear_settings, _linear)
RBF_SVM = FittedKind(_rbf_settings, _rbf)
