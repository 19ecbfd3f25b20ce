"""A dataset's labels and targets are matched with a version's by name."""

from __future__ import annotations

import numpy as np
import pytest

from model_store.errors import InvalidInput
from model_store.tasks import Classification, MultiLabel, Regression
from training_service.tasks import TRAINING_TASKS
from training_service.tasks.training_task import Matched

NO_ROWS = {
    "classification": (Classification(("a",)), np.zeros(0, np.int64)),
    "multi_label": (MultiLabel(("a",)), np.zeros((0, 1), np.float32)),
    "regression": (Regression(("a",)), np.zeros((0, 1), np.float32)),
}
match_labels = TRAINING_TASKS["classification"].match
match_multi_label = TRAINING_TASKS["multi_label"].match
match_targets = TRAINING_TASKS["regression"].match


def test_matching_takes_the_first_of_equal_labels() -> None:
    """ImageNet has two cranes; and labels of no row do not matter."""
    known = Classification(("crane", "tench", "crane"), 1.5)
    found = match_labels(known, Classification(("tench", "crane")), np.array([1, 0]), allow_unknown=False)
    assert (found.targets.tolist(), found.task, found.unknown) == ([0, 1], known, ())
    dataset = Classification(("tench", "lion"))
    assert match_labels(known, dataset, np.array([0, 0]), allow_unknown=False).task.names == known.labels
    with pytest.raises(InvalidInput, match="'lion'"):
        match_labels(known, dataset, np.array([0, 1]), allow_unknown=False)
    found = match_labels(known, dataset, np.array([0, 1]), allow_unknown=True)
    assert (found.task.names, found.targets.tolist()) == ((*known.labels, "lion"), [1, 3])
    assert (found.unknown, found.task.temperature) == (("lion",), 1.5)
    outputs = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert found.chosen(outputs).tolist() == [[0, 1, 2, -np.inf], [3, 4, 5, -np.inf]]


def test_labels_that_both_have_are_measured() -> None:
    """In the version's order; one that no row has does not matter, and one that the dataset lacks says nothing."""
    known = MultiLabel(("red", "round", "large"))
    dataset = MultiLabel(("large", "old", "red", "rare"))
    truth = np.array([[1, 0, 0, 0], [0, 1, 1, 0]], np.float32)
    outputs = np.arange(6, dtype=np.float32).reshape(2, 3)
    with pytest.raises(InvalidInput, match="labels that the version lacks, 'old':"):
        match_multi_label(known, dataset, truth, allow_unknown=False)
    found = match_multi_label(known, dataset, truth, allow_unknown=True)
    assert (found.task.names, found.unknown) == (("red", "large", "old"), ("old",))
    assert found.targets.tolist() == [[0, 1, 0], [1, 0, 1]]
    assert found.chosen(outputs).tolist() == [[0, 2, -np.inf], [3, 5, -np.inf]]
    with pytest.raises(InvalidInput, match="'other'"):
        match_multi_label(known, MultiLabel(("other",)), truth[:, :1], allow_unknown=True)


def test_targets_that_both_have_are_measured() -> None:
    """In the version's order; a target that the version lacks is refused, as no answer could be wrong."""
    known = Regression(("price", "size", "age"))
    targets = np.array([[1, 2], [3, 4]], np.float32)
    found = match_targets(known, Regression(("age", "price")), targets, allow_unknown=False)
    assert (found.task.names, found.unknown, found.targets.tolist()) == (("price", "age"), (), [[2, 1], [4, 3]])
    assert found.chosen(np.array([[7, 8, 9]], np.float32)).tolist() == [[7, 9]]
    for allow_unknown in (False, True):
        with pytest.raises(InvalidInput, match="targets that the version lacks, 'height'"):
            match_targets(known, Regression(("age", "height")), targets, allow_unknown=allow_unknown)


@pytest.mark.parametrize("kind", TRAINING_TASKS)
def test_there_must_be_rows(kind: str) -> None:
    """Whichever the task is."""
    task, targets = NO_ROWS[kind]
    with pytest.raises(InvalidInput, match="no rows"):
        TRAINING_TASKS[kind].match(task, task, targets, allow_unknown=True)


def test_equal_names_match_as_they_are() -> None:
    """Nothing is reordered where nothing must be."""
    for kind, targets in (("multi_label", [[0, 1]]), ("regression", [[0.5, 2]])):
        task = MultiLabel(("a", "b")) if kind == "multi_label" else Regression(("a", "b"))
        own = np.array(targets, np.float32)
        found: Matched = TRAINING_TASKS[kind].match(task, task, own, allow_unknown=False)
        assert (found.task, found.columns.tolist(), found.targets.tolist()) == (task, [0, 1], own.tolist())
