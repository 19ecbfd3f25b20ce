"""k nearest neighbours on standardised embeddings, and the nearest centroid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

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
from training_service.recipes.recipe import Recipe

_NEIGHBOUR_COUNTS = (1, 3, 5, 9, 15, 25)
_MAX_NUMBERS = 2**27  # of the rows that a version keeps: a gibibyte


def _neighbour_settings(recipe: Recipe, rows: FitRows) -> Sequence[Settings]:
    counts = chosen_or(recipe.neighbour_count, [each for each in _NEIGHBOUR_COUNTS if each <= len(rows.features)])
    shared = {"neighbour_weights": str(recipe.neighbour_weights or "uniform")}
    return [{"neighbour_count": each, **shared} for each in counts]


def _neighbours(rows: FitRows, settings: Settings) -> FittedTensors:
    """Keep all rows, standardised as by `StandardScaler`; there is nothing to fit.

    Raise InvalidInput for more neighbours than rows, and for too many rows to keep.
    """
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415  a second to import, and services fit no head

    if settings["neighbour_count"] > len(rows.features):
        raise InvalidInput.of("neighbour_count", f"must be at most {len(rows.features)}, the number of training rows")
    if rows.features.size > _MAX_NUMBERS:
        raise InvalidInput.of("head", f"would keep {rows.features.size} numbers of its rows, over {_MAX_NUMBERS}")
    scaler = StandardScaler().fit(rows.features)
    numbers = {"mean": scaler.mean_, "scale": scaler.scale_, "rows": scaler.transform(rows.features)}
    sizes = {
        "rows": len(rows.features),
        "neighbours": settings["neighbour_count"],
        "by_distance": int(settings["neighbour_weights"] == "distance"),
    }
    if not rows.is_exclusive:
        numbers["target"] = rows.targets
        return FittedTensors(sizes, {name: float64(each) for name, each in numbers.items()})
    classes, label = np.unique(rows.targets, return_inverse=True)
    found = exclusive(classes, **numbers)
    return FittedTensors({**found.arguments, **sizes}, {**found.tensors, "label": torch.from_numpy(label)})


def _centroid_settings(recipe: Recipe, rows: FitRows) -> Sequence[Settings]:  # noqa: ARG001  there is nothing to choose
    return [{}]


def _centroid(rows: FitRows, settings: Settings) -> FittedTensors:  # noqa: ARG001  as above
    """Fit `NearestCentroid(priors="empirical")`, one of all labels or one for each label."""
    if rows.is_exclusive:
        model = _fitted_centroid(rows.features, rows.targets)
        numbers = _centroid_numbers(model)
        return exclusive(model.classes_, **{name: each[None] for name, each in numbers.items()})
    size = rows.features.shape[1]
    parts = []
    for _, own in rows.labels():
        if is_constant(own):
            prior = np.array([0.0, constant_logit(own) / 2])
            parts.append({"deviation": np.ones(size), "centroid": np.zeros((2, size)), "log_prior": prior})
        else:
            parts.append(_centroid_numbers(_fitted_centroid(rows.features, own)))
    return FittedTensors({}, {name: float64(np.stack([part[name] for part in parts])) for name in parts[0]})


def _fitted_centroid(features: Any, targets: Any) -> Any:  # noqa: ANN401  scikit-learn carries no types
    from sklearn.neighbors import NearestCentroid  # noqa: PLC0415  as above

    if not np.ptp(features, axis=0).any():
        raise InvalidInput.of("head", "cannot be fitted: every feature is the same in all training rows")
    return NearestCentroid(priors="empirical").fit(features, targets)


def _centroid_numbers(model: Any) -> dict[str, NDArray[np.float64]]:  # noqa: ANN401  as above
    deviation = model.within_class_std_dev_
    return {
        "deviation": np.where(deviation == 0, 1.0, deviation),
        "centroid": model.centroids_,
        "log_prior": np.log(model.class_prior_),
    }


NEAREST_NEIGHBOURS = FittedKind(_neighbour_settings, _neighbours)
NEAREST_CENTROID = FittedKind(_centroid_settings, _centroid)
