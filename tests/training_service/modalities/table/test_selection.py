"""Features of a table that are selected by a score: as scikit-learn selects them, on training rows alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.feature_selection import (
    SelectKBest,
    VarianceThreshold,
    f_classif,
    f_regression,
    mutual_info_classif,
    mutual_info_regression,
)

from model_store.architectures.table_stages import Select, Standardise
from model_store.errors import InvalidInput
from model_store.modalities.table.columns import CellKind, TableColumn
from model_store.modalities.table.spec import TableInputSpec
from training_service.modalities.modality import FittedOn
from training_service.modalities.table.features import feature_names
from training_service.modalities.table.stages import fit_select
from training_service.recipes.choices import ChosenRecipe
from training_service.recipes.recipe import DEFAULTS, FeatureSelection, Recipe, RecipeName
from training_service.recipes.selection import check_selection

NUM_NUMBERS, NUM_FEATURES = 6, 9
RANDOM = np.random.default_rng(0)
DISCRETE = np.arange(NUM_FEATURES) >= NUM_NUMBERS


def rows() -> NDArray[np.float32]:
    """Return 200 rows of six numbers and the three indicators of a category."""
    numbers = RANDOM.normal(0, [0.1, 1, 2, 5, 10, 0.5], (200, NUM_NUMBERS))
    return np.hstack([numbers, np.eye(3)[RANDOM.integers(0, 3, 200)]]).astype(np.float32)


def fitted(x: NDArray[np.float32], targets: NDArray[Any], before: list[Any], **fields: Any) -> dict[str, NDArray[Any]]:
    """Return what the stage is fitted to by a recipe with these fields."""
    recipe = Recipe.from_json({**DEFAULTS[RecipeName.FIT_HEAD].to_json(), **fields})
    return fit_select(Select(x.shape[1]), FittedOn(x, targets, before, recipe))


@pytest.mark.parametrize(
    ("select", "of_labels", "of_numbers"),
    [
        ("anova_f", f_classif, f_regression),
        (
            "mutual_information",
            partial(mutual_info_classif, discrete_features=DISCRETE, random_state=0),
            partial(mutual_info_regression, discrete_features=DISCRETE, random_state=0),
        ),
    ],
)
def test_features_are_those_of_select_k_best(
    select: str, of_labels: Callable[..., Any], of_numbers: Callable[..., Any]
) -> None:
    """With its scores, for labels and for numbers."""
    x = rows()
    strength = x[:, 1] + 0.3 * x[:, 2] + 2 * x[:, 7]
    labels = (strength > 0.5).astype(np.int64)
    for score, targets in ((of_labels, labels), (of_numbers, strength[:, None].astype(np.float32))):
        expected = SelectKBest(score, k=3).fit(x.astype(np.float64), targets.ravel())
        found = fitted(x, targets, [], select=select, select_count=3)
        assert found["kept"].astype(bool).tolist() == expected.get_support().tolist()
        np.testing.assert_allclose(found["scores"], expected.scores_, rtol=1e-5)


def test_variance_is_that_of_the_columns_own_numbers() -> None:
    """As scikit-learn's VarianceThreshold sees them before they are standardised."""
    x = rows()
    expected = VarianceThreshold(0.2).fit(x.astype(np.float64))
    scale = Standardise(NUM_NUMBERS)
    mean, deviation = x[:, :NUM_NUMBERS].mean(axis=0), x[:, :NUM_NUMBERS].std(axis=0)
    scale.get_buffer("scale").copy_(torch.from_numpy(deviation))
    scaled = np.hstack([(x[:, :NUM_NUMBERS] - mean) / deviation, x[:, NUM_NUMBERS:]]).astype(np.float32)
    labels = RANDOM.integers(0, 2, 200)
    found = fitted(scaled, labels, [scale], select="variance", select_threshold=0.2)
    assert found["kept"].astype(bool).tolist() == expected.get_support().tolist()
    np.testing.assert_allclose(found["scores"], expected.variances_, rtol=1e-4)
    two = fitted(scaled, labels, [scale], select="variance", select_threshold=0.2, select_count=2)
    assert np.flatnonzero(two["kept"]).tolist() == [3, 4]


def test_features_that_do_not_vary_are_never_kept() -> None:
    """Not even where more are asked for than vary."""
    x = rows()
    x[:, [0, 8]] = 1
    found = fitted(x, RANDOM.integers(0, 2, 200), [], select="anova_f", select_count=8)
    assert np.flatnonzero(found["kept"] == 0).tolist() == [0, 8]


def test_a_base_must_have_what_is_selected() -> None:
    """A stage for it, and as many features."""
    values = {"select": FeatureSelection.ANOVA_F, "select_count": 5}
    chosen = ChosenRecipe(RecipeName.FIT_HEAD, values, {key: f"fit_head.select.{key}" for key in values})
    check_selection(chosen, "recipe", ["onehot", "select"], 5)
    check_selection(ChosenRecipe(), "recipe", [], 1)
    with pytest.raises(InvalidInput, match="select_count: must be at most 4, the number of features of the base"):
        check_selection(chosen, "recipe", ["onehot", "select"], 4)
    with pytest.raises(InvalidInput, match=r"needs a base with a stage 'select'.* --modality table"):
        check_selection(chosen, "recipe", ["pool"], 512)


def test_features_are_named() -> None:
    """By the column, and what it is made into."""
    columns = (
        TableColumn("age", CellKind.NUMBER),
        TableColumn("plan", CellKind.CATEGORY, ("basic", "pro")),
        TableColumn("since", CellKind.DATE),
        TableColumn("town", CellKind.CATEGORY, buckets=2),
    )
    arguments = {"numbers": 2, "indicators": [0], "dates": [1], "categories": [4, 3]}
    assert feature_names(TableInputSpec(columns), arguments) == [
        *("age", "since", "age is missing"),
        *(f"since: {part}" for part in ("year", "month", "day", "weekday", "hour")),
        *("plan is missing", "plan = basic", "plan = pro", "plan: any other"),
        *("town is missing", "town: bucket 1", "town: bucket 2"),
    ]
