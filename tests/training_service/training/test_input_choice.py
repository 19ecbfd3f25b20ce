"""An input spec is chosen where cross-validation shows more than noise, and else the base's own stays."""

from __future__ import annotations

import numpy as np
import pytest

from training_service.tasks import TRAINING_TASKS
from training_service.training.input_choice import InputChoice, choose_input, has_enough_rows

NUM_FEATURES = 20


def candidates(num_rows: int, strengths: dict[str, float], seed: int = 0) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return features that tell two labels apart by so much, each with noise of its own, and labels."""
    random = np.random.default_rng(seed)
    labels = random.permutation(np.arange(num_rows) % 2)
    shift = np.zeros(NUM_FEATURES)
    shift[0] = 1
    found = {
        name: (random.normal(size=(num_rows, NUM_FEATURES)) + strength * np.outer(labels, shift)).astype(np.float32)
        for name, strength in strengths.items()
    }
    return found, labels


def choose(features: dict[str, np.ndarray], targets: np.ndarray, kind: str = "classification") -> InputChoice:
    """Choose, as a job does."""
    num_outputs = int(targets.max()) + 1 if kind == "classification" else targets.shape[1]
    return choose_input(
        features, targets, TRAINING_TASKS[kind], num_outputs, is_balanced=False, check_going_on=lambda: None
    )


def test_what_tells_more_is_chosen() -> None:
    """And the figures say by how much it is better, with the error of that."""
    choice = choose(*candidates(200, {"own": 0.5, "other": 0.5, "best": 4.0}))
    assert choice.name == "best"
    own, _, best = choice.tried
    assert (own.gain, own.gain_error) == (0, 0)
    assert best.gain == pytest.approx(own.loss - best.loss, rel=1e-6)
    assert best.gain > 5 * best.gain_error
    assert best.metric > 0.95 > own.metric
    assert "best is chosen, better than own" in choice.reason
    assert "200 rows" in choice.reason


@pytest.mark.slow
def test_noise_seldom_moves_a_base_from_its_own() -> None:
    """Of three candidates that are equally good, the lowest loss is another's in two of three cases."""
    found = [choose(*candidates(40, {"own": 1.0, "second": 1.0, "third": 1.0}, seed)) for seed in range(30)]
    lowest = [min(choice.tried, key=lambda each: each.loss).name for choice in found]
    assert sum(name != "own" for name in lowest) >= 15
    assert sum(choice.name != "own" for choice in found) <= 2 / 3 * sum(name != "own" for name in lowest)
    stayed = next(choice for choice in found if choice.name == "own")
    assert "own, the base's own, stays" in stayed.reason


def test_a_few_rows_choose_nothing_by_chance() -> None:
    """Labels of one row are never left out, and so do not count."""
    task = TRAINING_TASKS["classification"]
    assert has_enough_rows(np.arange(30) % 2, task)
    assert not has_enough_rows(np.arange(29) % 2, task)
    assert not has_enough_rows(np.arange(30), task)


def test_a_label_of_one_row_is_known_to_every_fit() -> None:
    """It is trained on in each fold; the others are left out once."""
    features, labels = candidates(41, {"own": 1.0, "best": 6.0})
    labels[0] = 2
    choice = choose(features, labels)
    assert (choice.name, choice.num_rows) == ("best", 40)


@pytest.mark.parametrize("kind", ["regression", "multi_label"])
def test_other_tasks_choose_too(kind: str) -> None:
    """By their own loss."""
    features, labels = candidates(120, {"own": 0.2, "best": 5.0})
    targets = np.stack([labels, 1 - labels], axis=1).astype(np.float32)
    assert choose(features, targets, kind).name == "best"


def test_it_survives_json() -> None:
    """As a checkpoint and the lineage of a version have it."""
    choice = choose(*candidates(30, {"own": 0.5, "other": 3.0}))
    assert InputChoice.from_json(choice.to_json()) == choice
