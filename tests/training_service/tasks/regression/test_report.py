"""The report of a regression shows residuals of any size."""

from __future__ import annotations

import math

import numpy as np
import pytest

from model_store.tasks import Regression
from training_service.markup.picture import Bar
from training_service.tasks.regression.metrics import measure
from training_service.tasks.regression.report import ChartsSection, sections
from training_service.tasks.training_task import Answers


@pytest.mark.parametrize(
    ("outputs", "targets"),
    [([2e17], [1e17]), ([5.0], [5.0]), ([1e9, 1e9 + 128], [0, 128]), ([3e38, -3e38], [-3e38, 3e38])],
)
def test_residuals_that_are_all_the_same_are_drawn(outputs: list[float], targets: list[float]) -> None:
    """One test row has one residual, and a large number has no bars of finite width around it."""
    found, true = (np.array(each, np.float32)[:, None] for each in (outputs, targets))
    answers = Answers(found, true, Regression(("a",)))
    residuals = sections(measure(answers, "test"), answers)[1]
    assert isinstance(residuals, ChartsSection)
    (chart,) = residuals.charts
    bars = [mark for mark in chart.picture.marks if isinstance(mark, Bar)]
    assert len(bars) == len(set(np.subtract(outputs, targets)))
    assert all(math.isfinite(bar.x) and bar.width > 0 for bar in bars)
