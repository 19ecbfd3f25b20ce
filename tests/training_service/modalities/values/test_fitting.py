"""The numbers by which columns are standardised: those of the training rows alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from model_store.modalities import Rows
from model_store.modalities.values.spec import ValuesInputSpec
from model_store.tasks import Regression
from training_service.datasets.columns import Column, ColumnRole, ColumnType
from training_service.datasets.manifest import DatasetManifest, RowColumns
from training_service.datasets.splits import SplitSpec
from training_service.modalities import MODALITIES
from training_service.modalities.values import training

ROWS = np.random.default_rng(0).normal([0, 1e6, 5], [1, 10, 0], (200, 3)).astype(np.float32)
TRAIN = np.arange(0, 200, 3)
UNFITTED = ValuesInputSpec(3, standardise=True)
NAMES = ("width", "height", "depth")
COLUMNS = (
    *(Column(name, ColumnType.NUMBER, ColumnRole.FEATURE) for name in NAMES),
    Column("price", ColumnType.NUMBER, ColumnRole.TARGET),
)
MANIFEST = DatasetManifest("values", Regression(("price",)), SplitSpec(), COLUMNS, RowColumns.of([]))


def test_columns_have_mean_0_and_deviation_1(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over the training rows, however few are read at once; a column of one number has deviation 1."""
    monkeypatch.setattr(training, "_NUMBERS_AT_ONCE", 30)
    spec = MODALITIES["values"].fitted_spec(UNFITTED, MANIFEST, Rows({"x": ROWS}, len(ROWS)), TRAIN)
    assert isinstance(spec, ValuesInputSpec)
    assert spec.columns == NAMES
    expected = ROWS[TRAIN].astype(np.float64)
    np.testing.assert_allclose(spec.mean, expected.mean(axis=0), rtol=1e-7)
    np.testing.assert_allclose(spec.std, [*expected.std(axis=0)[:2], 1], rtol=1e-7)
    assert training.preparation(spec) == training.preparation(UNFITTED)


@pytest.mark.parametrize(
    "spec", [ValuesInputSpec(3), ValuesInputSpec(3, standardise=True, mean=(0.0, 1.0, 2.0), std=(1.0, 1.0, 1.0))]
)
def test_a_base_keeps_what_it_was_trained_with(spec: ValuesInputSpec) -> None:
    """Rows as they are, or the numbers of the rows that it learned from; names are those of the dataset."""
    assert MODALITIES["values"].fitted_spec(spec, MANIFEST, Rows({"x": ROWS}, len(ROWS)), TRAIN) == replace(
        spec, columns=NAMES
    )
