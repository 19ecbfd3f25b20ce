"""How much single features say of the targets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray


def f_scores(x: NDArray[np.float64], targets: NDArray[Any]) -> NDArray[np.float64]:
    """Return ANOVA's F of each feature [d], the greatest of several targets [n] or [n, t].

    Of a feature [n, d] that separates the targets wholly it is 1e30.
    """
    from sklearn.feature_selection import f_classif, f_regression  # noqa: PLC0415  a second, and most jobs need none

    score: Callable[..., Any] = f_classif if np.issubdtype(targets.dtype, np.integer) else f_regression
    columns = targets[:, None] if targets.ndim == 1 else targets
    with np.errstate(divide="ignore", invalid="ignore"):
        found = [score(x, column)[0] for column in columns.T if len(np.unique(column)) > 1]
    return np.nan_to_num(np.max(found, axis=0), nan=0.0, posinf=1e30) if found else np.zeros(x.shape[1])


def mutual_information(
    x: NDArray[np.float64], targets: NDArray[Any], discrete: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the mutual information of each feature [d] and the targets in nats, the greatest of several targets.

    Features [n, d] that are `discrete` [d] have few values. Targets [n] or [n, t] are numbers, but for integers and
    those of two values.
    """
    from sklearn.feature_selection import (  # noqa: PLC0415  as above
        mutual_info_classif,
        mutual_info_regression,
    )

    are_numbers = not np.issubdtype(targets.dtype, np.integer)
    found = []
    for column in (targets[:, None] if targets.ndim == 1 else targets).T:
        estimate = mutual_info_regression if are_numbers and len(np.unique(column)) > 2 else mutual_info_classif
        found.append(estimate(x, column, discrete_features=discrete, random_state=0))
    return np.asarray(np.max(found, axis=0), np.float64)
