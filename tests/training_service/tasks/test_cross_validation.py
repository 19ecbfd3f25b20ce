"""Folds have rows of every kind, and each fit knows every label."""

from __future__ import annotations

import numpy as np

from training_service.tasks.cross_validation import NEVER, NUM_FOLDS, label_folds, spread_folds


def test_labels_are_spread_over_the_folds() -> None:
    """No fold has two rows of a label more than another."""
    labels = np.random.default_rng(0).integers(0, 4, 97)
    folds = label_folds(labels)
    for label in range(4):
        counts = np.bincount(folds[labels == label], minlength=NUM_FOLDS)
        assert counts.max() - counts.min() <= 1


def test_whatever_is_left_out_every_label_is_left() -> None:
    """Two rows of a label are never in one fold, and its only row in none."""
    labels = np.array([0, 0, 1, 1, 1, 2, 3, 3] + [4] * 30)
    folds = label_folds(labels)
    assert folds[labels == 2] == NEVER
    for fold in range(NUM_FOLDS):
        assert set(labels[folds != fold]) == set(labels)


def test_numbers_are_spread_by_size() -> None:
    """Each fold has its share of small and of large targets."""
    numbers = np.random.default_rng(0).permutation(100).astype(np.float32)
    folds = spread_folds(numbers.reshape(-1, 1))
    for fold in range(NUM_FOLDS):
        mine = np.sort(numbers[folds == fold])
        assert len(mine) == 100 / NUM_FOLDS
        assert (mine // NUM_FOLDS == np.arange(len(mine))).all()
