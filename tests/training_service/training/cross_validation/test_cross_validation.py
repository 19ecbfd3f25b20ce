"""The cross-validation of a probe on few rows: what it measures, and that nothing leaks into it."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pytest

from model_store.records.metrics import CrossValidation, Interval, Metrics
from model_store.tasks import Classification, MultiLabel, Regression, Task
from training_service.tasks import TRAINING_TASKS
from training_service.training.cross_validation.folds import (
    MAX_ROWS,
    MIN_ROWS,
    PLANS,
    Fold,
    Plan,
    affordable,
    draws_of,
    folds_of,
    is_cross_validated,
)
from training_service.training.cross_validation.left_out import measured, run_without
from training_service.training.heads import HeadFitter, choose_head

NUM_ROWS = 120
PLAN = PLANS[0]
RANDOM = np.random.default_rng(0)
NOISE = RANDOM.standard_normal((NUM_ROWS, 40)).astype(np.float32)
LABELS = RANDOM.integers(0, 3, NUM_ROWS)
APART = np.arange(NUM_ROWS)


@dataclass(frozen=True)
class Examples:
    """Features [n, d] of all rows, their targets and groups."""

    features: np.ndarray
    targets: np.ndarray
    groups: np.ndarray
    task: Task

    def outputs(self, fold: Fold) -> np.ndarray:
        """Return outputs for a fold, by a linear head of the others, in the targets' own units."""
        task, kept = TRAINING_TASKS[self.task.kind], np.concatenate([fold.learned, fold.chosen])
        scale = task.scale(self.targets[fold.learned])
        targets = self.targets if scale is None else scale.scaled(self.targets)
        fitter = HeadFitter(self.features[kept], task)
        train, validation = ((self.features[rows], targets[rows]) for rows in (fold.learned, fold.chosen))
        best = choose_head(fitter, train, validation, len(self.task.names), lambda *_: None)
        head = fitter.fit(self.features[kept], targets[kept], len(self.task.names), best.strength)
        return head.unscaled(scale).outputs(self.features[fold.out])


def validated(examples: Examples) -> CrossValidation:
    """Cross-validate a linear head."""
    draws = draws_of(PLAN, examples.targets, examples.groups, TRAINING_TASKS[examples.task.kind])
    found = run_without(draws, len(examples.task.names), examples.outputs, lambda _: None)
    targets, groups = examples.targets[found.positions], examples.groups[found.positions]
    return measured(found, targets, groups, examples.task, PLAN)


def folds(examples: Examples, seed: int) -> np.ndarray:
    """Return the fold of each row."""
    return folds_of(examples.targets, examples.groups, TRAINING_TASKS[examples.task.kind], PLAN.num_folds, seed)


def classes(features: np.ndarray, labels: np.ndarray = LABELS, groups: np.ndarray = APART) -> Examples:
    """Return rows of three classes."""
    return Examples(features, labels, groups, Classification(("a", "b", "c")))


def test_what_can_be_learned_is_measured_and_noise_is_not() -> None:
    """Features that name the label give a high accuracy, noise one around a third."""
    telling = NOISE + 3 * np.eye(40, dtype=np.float32)[LABELS]
    found = validated(classes(telling))
    assert (found.metric, found.num_rows, found.num_folds, found.num_repeats) == ("accuracy", NUM_ROWS, 5, 2)
    assert found.value > 0.9
    assert found.interval.low < found.value < found.interval.high
    assert validated(classes(telling)) == found
    assert validated(classes(NOISE)).value < 0.45


def test_near_duplicates_tell_nothing_of_one_another() -> None:
    """Rows that occur twice are remembered where they are parted, and not where they are together."""
    twice, labels = np.concatenate([NOISE[:60], NOISE[:60]]), np.concatenate([LABELS[:60], LABELS[:60]])
    assert validated(classes(twice, labels)).value > 0.7
    together = validated(classes(twice, labels, APART % 60))
    assert together.value < 0.6
    parted = validated(classes(NOISE[:60], LABELS[:60], APART[:60])).interval
    assert together.interval.high - together.interval.low > 0.8 * (parted.high - parted.low), "60 rows, not 120"


def test_folds_are_drawn_and_keep_groups() -> None:
    """Of each task; a label's only group is never left out."""
    groups = APART // 4
    for examples in (
        classes(NOISE, groups=groups),
        Examples(NOISE, NOISE[:, :2], groups, Regression(("a", "b"))),
        Examples(NOISE, (NOISE[:, :2] > 0).astype(np.float32), groups, MultiLabel(("a", "b"))),
    ):
        first, second = (folds(examples, seed) for seed in (0, 1))
        assert not np.array_equal(first, second)
        for drawn in (first, second):
            assert set(drawn) <= {-1, 0, 1, 2, 3, 4}
            assert all(len(set(drawn[groups == group])) == 1 for group in groups)
    alone = LABELS.clip(0, 1)
    alone[:4] = 2
    assert set(folds(classes(NOISE, alone, groups), 0)[:4]) == {-1}
    assert validated(classes(NOISE, alone, groups)).num_rows == NUM_ROWS - 4


def test_a_label_with_two_rows_can_be_learned_in_each_fold() -> None:
    """One is left out, and the other one is in the rows that the strength is fitted on."""
    rare = LABELS.clip(0, 1)
    rare[:2] = 2
    assert validated(classes(NOISE, rare)).num_rows == NUM_ROWS


def test_groups_that_leave_nothing_to_learn_are_not_cross_validated() -> None:
    """Where each label is one group, or all rows are two groups."""
    for labels, groups in ((LABELS, LABELS), (APART // 60, APART // 60)):
        assert draws_of(PLAN, labels, groups, TRAINING_TASKS["classification"]) == []


def test_numbers_are_measured_in_their_own_units() -> None:
    """The scale is that of the rows that were learned from."""
    truth = (1000 * NOISE[:, :2] + 5000).astype(np.float32)
    found = validated(Examples(NOISE, truth, APART, Regression(("a", "b"))))
    assert (found.metric, found.value > 0.9) == ("r2", True)


@pytest.mark.parametrize(
    ("num_rows", "num_held_out", "expected"),
    [
        (MAX_ROWS - 1, MIN_ROWS - 1, False),
        (MIN_ROWS, MIN_ROWS, True),
        (MAX_ROWS - 1, MAX_ROWS - 1, True),
        (MAX_ROWS, MAX_ROWS, False),
    ],
)
def test_few_rows_are_cross_validated(num_rows: int, num_held_out: int, expected: bool) -> None:  # noqa: FBT001
    """Neither so few that folds mean nothing, nor as many as a test split needs."""
    assert is_cross_validated(num_rows, num_held_out) is expected


@pytest.mark.parametrize(("fit_seconds", "expected"), [(1.0, PLANS[0]), (1.5, PLANS[1]), (3.0, PLANS[2]), (5.0, None)])
def test_there_are_as_many_folds_as_there_is_time_for(fit_seconds: float, expected: Plan | None) -> None:
    """Two draws of five, one of five, one of three, or none."""
    assert affordable(PLANS, fit_seconds, 10) == expected


def test_it_is_kept_with_the_metrics() -> None:
    """And metrics from before it existed are read."""
    found = CrossValidation("accuracy", 0.8, Interval(0.7, 0.9), 100, 5, 2)
    metrics = Metrics("test", 10, {"accuracy": 1.0}, cross_validation=found)
    values = json.loads(json.dumps(metrics.to_json()))
    assert Metrics.from_json(values) == metrics
    del values["cross_validation"]
    assert Metrics.from_json(values).cross_validation is None
