"""A random forest by scikit-learn, its trees as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from training_service.heads.kind import FitRows, FittedKind, FittedTensors, Settings, chosen_or
from training_service.heads.trees import LARGEST, in_pairs, rounded_down
from training_service.recipes.recipe import Recipe

_TREE_COUNT = 100  # scikit-learn's default
_LEAF_ROW_COUNTS = (1, 5)
_MAX_SAMPLED = 100_000
"""The rows of a tree's sample: more would change it little, and take minutes."""
MAX_BYTES = 64 * 2**20
_NODE_BYTES, _VALUE_BYTES = 13, 4
_LEAST_LEAVES = 2


def _settings(recipe: Recipe, rows: FitRows) -> Sequence[Settings]:  # noqa: ARG001  the same for all
    count = recipe.forest_tree_count or _TREE_COUNT
    return [
        {"forest_tree_count": count, "leaf_row_count": each}
        for each in chosen_or(recipe.leaf_row_count, _LEAF_ROW_COUNTS)
    ]


def _fit(rows: FitRows, settings: Settings) -> FittedTensors:
    """Fit one `RandomForestClassifier` or `-Regressor` of all labels or targets.

    Trees are cut to the leaves that MAX_BYTES have room for, the best splits first, only where they could have more.
    """
    from sklearn.ensemble import (  # noqa: PLC0415  a second to import, and services fit no head
        RandomForestClassifier,
        RandomForestRegressor,
    )

    num_rows, num_leaves = len(rows.features), most_leaves(rows, settings)
    fixed = {
        "n_estimators": settings["forest_tree_count"],
        "min_samples_leaf": settings["leaf_row_count"],
        "max_leaf_nodes": num_leaves if num_leaves < num_rows / settings["leaf_row_count"] else None,
        "max_samples": _MAX_SAMPLED if num_rows > _MAX_SAMPLED else None,
        "random_state": rows.seed,
        "n_jobs": torch.get_num_threads(),
    }
    if rows.is_regression:
        targets = rows.numbers
        model = RandomForestRegressor(**fixed).fit(rows.features, targets[:, 0] if rows.num_outputs == 1 else targets)
        return _tensors(model, [tree.tree_.value[:, :, 0] for tree in model.estimators_])
    model = RandomForestClassifier(**fixed, class_weight=rows.class_weight)
    if rows.is_exclusive:
        model.fit(rows.features, rows.targets)
        first = 1 if len(model.classes_) == 2 else 0
        values = [tree.tree_.value[:, 0, first:] for tree in model.estimators_]
        return _tensors(model, values, model.classes_)
    flags = rows.targets > 0
    model.fit(rows.features, flags[:, 0] if rows.num_outputs == 1 else flags)
    has = [np.flatnonzero(each) for each in (model.classes_ if rows.num_outputs > 1 else [model.classes_])]
    return _tensors(model, [_shares(tree.tree_.value, has) for tree in model.estimators_])


def most_leaves(rows: FitRows, settings: Settings) -> int:
    """Return the most leaves of a tree: a tree has a node less than twice its leaves."""
    node = _NODE_BYTES + _VALUE_BYTES * rows.num_outputs
    return max(_LEAST_LEAVES, MAX_BYTES // (2 * node * int(settings["forest_tree_count"])))


def _shares(values: NDArray[np.float64], has: Sequence[NDArray[np.int64]]) -> NDArray[np.float64]:
    """Return the share of rows with each label [nodes, labels]; `has` is the place of that share, if there is one."""
    return np.stack([values[:, label, place].sum(axis=1) for label, place in enumerate(has)], axis=1)


def _tensors(model: Any, values: Sequence[NDArray[np.float64]], classes: NDArray[Any] | None = None) -> FittedTensors:  # noqa: ANN401  scikit-learn carries no types
    """Return the nodes of all trees, one behind the other, with the values [nodes, k] of each tree."""
    parts: list[dict[str, NDArray[Any]]] = []
    roots, num_nodes, depth = [], 0, 0
    for estimator, value in zip(model.estimators_, values, strict=True):
        tree = estimator.tree_
        is_leaf = tree.children_left < 0
        order, left = in_pairs(is_leaf, tree.children_left, tree.children_right)
        is_leaf = is_leaf[order]
        parts.append({
            "feature": np.where(is_leaf, 0, tree.feature[order]).astype(np.int32),
            "left": (left + num_nodes).astype(np.int32),
            "threshold": np.where(is_leaf, LARGEST, rounded_down(tree.threshold[order])).astype(np.float32),
            "missing_left": tree.missing_go_to_left[order].astype(np.bool_) | is_leaf,
            "value": value[order].astype(np.float32),
        })  # fmt: skip
        roots.append(num_nodes)
        num_nodes, depth = num_nodes + len(order), max(depth, int(tree.max_depth))
    tensors = {name: np.concatenate([each[name] for each in parts]) for name in parts[0]}
    tensors["root"] = np.array(roots, np.int32)
    arguments = {"trees": len(roots), "nodes": num_nodes, "depth": depth, "splits": 0, "codes": 0}
    if classes is not None:
        arguments["seen"], tensors["seen"] = len(classes), classes.astype(np.int64)
    return FittedTensors(
        arguments, {name: torch.from_numpy(np.ascontiguousarray(each)) for name, each in tensors.items()}
    )


RANDOM_FOREST = FittedKind(_settings, _fit)
