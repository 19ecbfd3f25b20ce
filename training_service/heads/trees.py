"""Histogram-based gradient boosting by scikit-learn, its trees as tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from model_store.architectures.heads.trees import MAX_CODES
from model_store.errors import InvalidInput
from training_service.heads.kind import (
    FitRows,
    FittedKind,
    FittedTensors,
    Settings,
    chosen_or,
    constant_logit,
    is_constant,
)
from training_service.recipes.recipe import Recipe

_TREE_COUNTS = (30, 100, 200)
_TREES_OF_MANY_ROWS = 100  # scikit-learn's default
_MANY_ROWS = 50_000
_LEARNING_RATE, _LEAF_COUNT = 0.1, 31  # scikit-learn's defaults
_MAX_CATEGORIES = 255
_NODE = {"feature": np.int32, "left": np.int32, "threshold": np.float32, "missing_left": np.bool_, "value": np.float64}
LARGEST = np.finfo(np.float32).max


def _settings(recipe: Recipe, rows: FitRows) -> Sequence[Settings]:
    counts = _TREE_COUNTS if len(rows.features) < _MANY_ROWS else (_TREES_OF_MANY_ROWS,)
    fixed = {
        "tree_learning_rate": recipe.tree_learning_rate or _LEARNING_RATE,
        "leaf_count": recipe.leaf_count or _LEAF_COUNT,
    }
    return [{"tree_count": each, **fixed} for each in chosen_or(recipe.tree_count, counts)]


def _fit(rows: FitRows, settings: Settings) -> FittedTensors:
    """Fit `HistGradientBoostingClassifier` or `-Regressor`: one of all labels, or one for each label or target."""
    from sklearn.ensemble import (  # noqa: PLC0415  a second to import, and services fit no head
        HistGradientBoostingClassifier,
        HistGradientBoostingRegressor,
    )

    _check_categories(rows)
    fixed = {
        "max_iter": settings["tree_count"],
        "learning_rate": settings["tree_learning_rate"],
        "max_leaf_nodes": settings["leaf_count"],
        "early_stopping": False,
        "categorical_features": list(rows.categorical) or None,
        "random_state": rows.seed,
    }
    trees = _Trees(rows)
    if rows.is_regression:
        for target, numbers in enumerate(rows.numbers.T):
            trees.add(HistGradientBoostingRegressor(**fixed).fit(rows.features, numbers), target)
    elif rows.is_exclusive:
        model = HistGradientBoostingClassifier(**fixed, class_weight=rows.class_weight).fit(rows.features, rows.targets)
        trees.add(model, 0)
        return trees.result(model.classes_)
    else:
        for label, own in rows.labels():
            if is_constant(own):
                trees.add_constant(constant_logit(own))
            else:
                model = HistGradientBoostingClassifier(**fixed, class_weight=rows.class_weight)
                trees.add(model.fit(rows.features, own), label)
    return trees.result()


def _check_categories(rows: FitRows) -> None:
    """Raise InvalidInput for columns of categories that trees cannot split."""
    for column in rows.categorical:
        codes = rows.features[:, column]
        codes = np.unique(codes[~np.isnan(codes)])
        is_code = (codes >= 0) & (codes < MAX_CODES) & (codes == np.floor(codes))
        if len(codes) > _MAX_CATEGORIES or not is_code.all():
            rule = f"at most {_MAX_CATEGORIES} categories, with whole numbers in 0..{MAX_CODES - 1} as codes"
            raise InvalidInput.of("head", f"takes {rule}: column {column} has others")


class _Trees:
    """The nodes of all trees, one behind the other; the two ways on from a node lead to neighbours."""

    def __init__(self, rows: FitRows) -> None:
        self._rows = rows
        self._nodes: list[Mapping[str, NDArray[Any]]] = []
        self._roots: list[int] = []
        self._outputs: list[int] = []
        self._baseline: list[float] = []
        self._is_left: list[NDArray[np.bool_]] = []
        self._depth = self._num_nodes = 0
        columns = rows.features[:, list(rows.categorical)]
        self._num_codes = int(np.nanmax(columns)) + 1 if columns.size and not np.isnan(columns).all() else 0
        self._is_known = np.zeros((rows.features.shape[1], self._num_codes), np.bool_)

    def add(self, model: Any, first_output: int) -> None:  # noqa: ANN401  scikit-learn carries no types
        """Add the trees of a fitted model, of one output or of several that follow one another."""
        columns, categories = self._columns(model)
        self._baseline.extend(map(float, np.ravel(model._baseline_prediction)))  # noqa: SLF001  it has no other way out
        for iteration in model._predictors:  # noqa: SLF001  as above
            for output, tree in enumerate(iteration, start=first_output):
                self._add(tree, columns, categories, output)

    def add_constant(self, value: float) -> None:
        """Add an output that is the same for all rows."""
        self._baseline.append(value)

    def result(self, classes: NDArray[Any] | None = None) -> FittedTensors:
        """Return the tensors of all trees."""
        if not self._roots:  # all outputs are constant
            self._append({name: np.zeros(1, kind) for name, kind in _NODE.items()}, np.array([-1]), 0)
        tensors = {name: np.concatenate([each[name] for each in self._nodes]) for name in (*_NODE, "split")}
        tensors |= {
            "root": np.array(self._roots, np.int32),
            "output": np.array(self._outputs, np.int64),
            "baseline": np.array(self._baseline),
        }
        num_splits = len(self._is_left)
        if num_splits:
            is_categorical = np.isin(np.arange(len(self._is_known)), self._rows.categorical)
            tensors |= {
                "is_left": np.stack(self._is_left),
                "is_known": self._is_known,
                "is_categorical": is_categorical,
            }
        else:
            del tensors["split"]
        arguments = {
            "trees": len(self._roots),
            "nodes": self._num_nodes,
            "depth": self._depth,
            "splits": num_splits,
            "codes": self._num_codes if num_splits else 0,
        }
        if classes is not None:
            arguments["seen"], tensors["seen"] = len(classes), classes.astype(np.int64)
        return FittedTensors(
            arguments, {name: torch.from_numpy(np.ascontiguousarray(each)) for name, each in tensors.items()}
        )

    def _columns(self, model: Any) -> tuple[NDArray[np.int64], Mapping[int, NDArray[np.int64]]]:  # noqa: ANN401  as above
        """Return the column of each feature of the model, which has categories first, and the codes of categories."""
        categorical = list(self._rows.categorical)
        numbers = [each for each in range(self._rows.features.shape[1]) if each not in set(categorical)]
        if not categorical:
            return np.array(numbers), {}
        categorical = sorted(categorical)
        encoder = model._preprocessor.named_transformers_["encoder"]  # noqa: SLF001  as above
        codes = {
            column: found[~np.isnan(found)].astype(np.int64)
            for column, found in zip(categorical, encoder.categories_, strict=True)
        }
        for column, known in codes.items():
            self._is_known[column, known] = True
        return np.array([*categorical, *numbers]), codes

    def _add(self, tree: Any, columns: NDArray[np.int64], codes: Mapping[int, NDArray[np.int64]], output: int) -> None:  # noqa: ANN401  as above
        nodes = tree.nodes
        order, left = in_pairs(nodes["is_leaf"], nodes["left"], nodes["right"])
        nodes = nodes[order]
        is_leaf = nodes["is_leaf"].astype(np.bool_)
        feature = np.where(is_leaf, 0, columns[nodes["feature_idx"]])
        split = np.full(len(nodes), -1)
        for place in np.flatnonzero(nodes["is_categorical"].astype(np.bool_) & ~is_leaf):
            split[place] = len(self._is_left)
            bits = _bits(tree.raw_left_cat_bitsets[nodes["bitset_idx"][place]])
            known = codes[int(feature[place])]
            is_left = np.zeros(self._num_codes, np.bool_)
            is_left[known] = bits[: len(known)]
            self._is_left.append(is_left)
        found: dict[str, NDArray[Any]] = {
            "feature": feature,
            "left": left,
            "threshold": np.where(is_leaf | (split >= 0), LARGEST, rounded_down(nodes["num_threshold"])),
            "missing_left": nodes["missing_go_to_left"].astype(np.bool_) | is_leaf,
            "value": nodes["value"],
        }
        self._append(found, split, output)
        self._depth = max(self._depth, int(nodes["depth"].max()))

    def _append(self, nodes: Mapping[str, NDArray[Any]], split: NDArray[np.int64], output: int) -> None:
        found: dict[str, NDArray[Any]] = {name: nodes[name].astype(kind) for name, kind in _NODE.items()}
        if not self._roots and len(split) == 1:
            found |= {"threshold": np.full(1, LARGEST), "missing_left": np.ones(1, np.bool_)}
        self._nodes.append({**found, "left": found["left"] + self._num_nodes, "split": split.astype(np.int32)})
        self._roots.append(self._num_nodes)
        self._outputs.append(output)
        self._num_nodes += len(split)


def rounded_down(thresholds: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the largest float32 that is not above each threshold; for infinity the largest one there is.

    For every finite x of float32, x <= threshold if and only if x <= that.
    """
    limited = np.clip(thresholds, -LARGEST, LARGEST)
    rounded = limited.astype(np.float32)
    is_above = rounded.astype(np.float64) > limited
    rounded[is_above] = np.nextafter(rounded[is_above], np.float32(-np.inf))
    return rounded


def in_pairs(
    is_leaf: NDArray[Any], left: NDArray[Any], right: NDArray[Any]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return an order of a tree's nodes, level by level, and the place of each one's left way on in it.

    The right way on is behind the left one; a leaf's left way on is the leaf.
    """
    levels, ways, start = [np.zeros(1, np.int64)], [], 0
    while True:
        level = levels[-1]
        goes_on = ~is_leaf[level].astype(np.bool_)
        behind = start + len(level)
        ways.append(np.where(goes_on, behind + 2 * (np.cumsum(goes_on) - 1), start + np.arange(len(level))))
        if not goes_on.any():
            return np.concatenate(levels), np.concatenate(ways)
        levels.append(np.stack([left[level[goes_on]], right[level[goes_on]]], axis=1).astype(np.int64).ravel())
        start = behind


def _bits(words: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """Return the 256 bits of a set of categories."""
    return (words[:, None] >> np.arange(32, dtype=np.uint32) & 1).astype(np.bool_).ravel()


GRADIENT_BOOSTING = FittedKind(_settings, _fit)
