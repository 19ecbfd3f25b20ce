"""The report of a regression shows residuals of any size."""

from __future__ import annotations

import numpy as np
import pytest

from model_store.tasks import Regression
from training_service.tasks.regression.metrics import measure
from training_service.tasks.regression.report import sections
from training_service.tasks.training_task import Answers


@pytest.mark.parametrize(
    ("outputs", "targets"),
    [([2e17], [1e17]), ([5.0], [5.0]), ([1e9, 1e9 + 128], [0, 128]), ([3e38, -3e38], [-3e38, 3e38])],
)
def test_residuals_that_are_all_the_same_are_drawn(outputs: list[float], targets: list[float]) -> None:
    """One test row has one residual, and a large number has no bars of finite width around it."""
    found, true = (np.array(each, np.float32)[:, None] for each in (outputs, targets))
    answers = Answers(found, true, Regression(("a",)))
    drawn = dict(sections(measure(answers, "test"), answers))
    assert str(drawn["Residuals"]).count("<rect") == len(set(np.subtract(outputs, targets)))
