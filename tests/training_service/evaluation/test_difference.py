"""Two answers for the same rows are told apart by more than chance, or not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from model_store.tasks import Classification, MultiLabel, Regression, Task
from training_service.evaluation.difference import difference, mcnemar
from training_service.tasks import TRAINING_TASKS
from training_service.tasks.training_task import Answers, Outputs

NUM_ROWS = 120
RANDOM = np.random.default_rng(0)
CLASSES = RANDOM.integers(0, 3, NUM_ROWS)
FLAGS = RANDOM.integers(0, 2, (NUM_ROWS, 3)).astype(np.float32)
VALUES = (RANDOM.standard_normal((NUM_ROWS, 2)) * [1, 1000]).astype(np.float32)


def right_but_for(*wrong: int) -> Answers:
    """Return answers of a classification that are right in all rows but these."""
    taken = CLASSES.copy()
    taken[list(wrong)] = (taken[list(wrong)] + 1) % 3
    return Answers(np.eye(3, dtype=np.float32)[taken], CLASSES, Classification(("a", "b", "c")))


def noisy(size: float, seed: int) -> list[tuple[Task, Outputs, np.ndarray]]:
    """Return a task, outputs with errors of this size, and targets, for each task."""
    random = np.random.default_rng(seed)
    hot = np.eye(3)[CLASSES] * 2 - 1
    found = [
        (Classification(("a", "b", "c")), hot, CLASSES),
        (MultiLabel(("a", "b", "c")), FLAGS * 2 - 1, FLAGS),
        (Regression(("a", "b")), VALUES, VALUES),
    ]
    return [
        (task, (outputs + random.standard_normal(outputs.shape) * outputs.std(axis=0) * size).astype(np.float32), true)
        for task, outputs, true in found
    ]


@pytest.mark.parametrize("kind", range(3), ids=list(TRAINING_TASKS))
def test_the_figures_are_those_that_the_task_measures(kind: int) -> None:
    """Of each answer alone, and the interval is around their difference."""
    own, other = (Answers(outputs, true, task) for task, outputs, true in (noisy(0.3, 1)[kind], noisy(0.9, 2)[kind]))
    task = TRAINING_TASKS[own.task.kind]
    found = difference(task, own, other)
    assert found.figure == pytest.approx(task.measure(own, "test").values[task.headline], rel=1e-5)
    assert found.other == pytest.approx(task.measure(other, "test").values[task.headline], rel=1e-5)
    assert found.interval.low < found.figure - found.other < found.interval.high
    assert found.num_rows == NUM_ROWS
    assert found.is_better
    assert difference(task, other, own).is_worse


@pytest.mark.parametrize("kind", range(3), ids=list(TRAINING_TASKS))
def test_every_metric_of_a_sample_is_what_the_task_measures_of_its_rows(kind: int) -> None:
    """Of all rows once, and of rows drawn with replacement, rows of equal scores among them."""
    (task, outputs, true) = noisy(0.9, 4)[kind]
    outputs = outputs.round(1)
    training_task, random = TRAINING_TASKS[task.kind], np.random.default_rng(5)
    draws = [np.arange(NUM_ROWS), *random.integers(0, NUM_ROWS, (3, NUM_ROWS))]
    counts = np.stack([np.bincount(drawn, minlength=NUM_ROWS) for drawn in draws]).astype(np.float32)
    measured = [training_task.measure(Answers(outputs[drawn], true[drawn], task), "test").values for drawn in draws]
    for name, metric in training_task.metrics.items():
        found = metric.sampled(Answers(outputs, true, task))(counts)
        if name in measured[0]:
            assert found == pytest.approx([each[name] for each in measured], rel=1e-4, abs=1e-6), name


def test_a_metric_that_is_better_when_lower_gains_by_falling() -> None:
    """The interval is that of the plain difference."""
    task, (first, second) = TRAINING_TASKS["regression"], (noisy(size, 1)[2] for size in (0.3, 0.9))
    own, other = (Answers(outputs, true, task) for task, outputs, true in (first, second))
    found = difference(task, own, other, "rmse")
    assert found.interval.high < 0 < found.gain
    assert (found.is_better, found.is_worse, found.p_value) == (True, False, None)
    assert found.exceeds(found.gain / 2)
    assert not found.exceeds(found.gain)


@pytest.mark.parametrize(("first", "second"), [(0, 0), (5, 0), (6, 0), (3, 14), (40, 60)])
def test_the_p_value_is_that_of_a_binomial_test(first: int, second: int) -> None:
    """Two-sided, of the rows that only one has right; five against none are noise, six are not."""
    expected = binomtest(first, first + second).pvalue if first + second else 1
    assert mcnemar(first, second) == pytest.approx(expected)
    found = difference(
        TRAINING_TASKS["classification"], right_but_for(*range(second)), right_but_for(*range(60, 60 + first))
    )
    assert found.p_value == pytest.approx(expected)
    assert (found.is_better, found.is_worse) == (expected < 0.05 and first > second, expected < 0.05 and first < second)


def test_answers_that_are_the_same_do_not_differ() -> None:
    """Not even where each is uncertain by itself."""
    found = difference(TRAINING_TASKS["classification"], right_but_for(*range(30)), right_but_for(*range(30)))
    assert (found.interval.low, found.interval.high) == (0, 0)
    assert (found.is_better, found.is_worse) == (False, False)


def test_rows_are_compared_in_pairs() -> None:
    """Ten rows better and none worse is more than chance; ten better and eight worse, of the same figure, is not."""
    task = TRAINING_TASKS["classification"]
    assert difference(task, right_but_for(*range(10, 40)), right_but_for(*range(40))).is_better
    found = difference(task, right_but_for(*range(40, 78)), right_but_for(*range(40)))
    assert found.figure > found.other
    assert not found.is_better


def test_versions_that_are_equally_good_are_rarely_told_apart() -> None:
    """In one comparison of twenty, about: as often as an interval of 95 % confidence misses."""
    random, task, told = np.random.default_rng(3), TRAINING_TASKS["classification"], 0
    for _ in range(200):
        own, other = (right_but_for(*np.flatnonzero(random.random(NUM_ROWS) < 0.2)) for _ in range(2))
        found = difference(task, own, other)
        told += found.is_better or found.is_worse
    assert 1 <= told <= 20


def test_what_has_no_value_is_not_known() -> None:
    """There is no R2 of a target that is the same in all rows."""
    same = Answers(np.zeros((30, 1), np.float32), np.ones((30, 1), np.float32), Regression(("a",)))
    found = difference(TRAINING_TASKS["regression"], same, same)
    assert not found.is_known
    assert math.isnan(found.interval.low)
    assert (found.is_better, found.is_worse) == (False, False)
