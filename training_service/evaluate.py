"""Measures predictions on rows that were not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_store.records import LabelMetrics, Metrics

NUM_BINS = 15
Logits = NDArray[np.float32]
Labels = NDArray[np.int64]


def measure(logits: Logits, labels: Labels, names: Sequence[str], split: str) -> Metrics:
    """Return the quality of logits [n, labels] against labels [n]; `names` are the labels' own.

    Of equal logits the first label is predicted, as in serving.
    """
    predicted = logits.argmax(axis=1)
    matrix = confusion_matrix(labels, predicted, len(names))
    per_label = [_label_metrics(name, matrix, index) for index, name in enumerate(names)]
    return Metrics(
        split=split,
        num_rows=len(labels),
        accuracy=float((predicted == labels).mean()),
        macro_f1=float(np.mean([each.f1 for each in per_label])),
        expected_calibration_error=calibration_error(softmax(logits), labels),
        labels=tuple(per_label),
        confusion_matrix=tuple(tuple(int(count) for count in row) for row in matrix),
    )


def confusion_matrix(labels: Labels, predicted: Labels, num_labels: int) -> NDArray[np.int64]:
    """Return counts [true, predicted]."""
    matrix: NDArray[np.int64] = np.bincount(labels * num_labels + predicted, minlength=num_labels**2)
    return matrix.reshape(num_labels, num_labels)


def calibration_error(probabilities: NDArray[np.float64], labels: Labels) -> float:
    """Return the expected calibration error over 15 equal bins of confidence (Guo et al. 2017, arXiv:1706.04599).

    The mean over bins, weighted by their rows, of |accuracy - mean confidence|; bins are open below, closed above.
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    bins = np.clip(np.ceil(confidence * NUM_BINS).astype(int) - 1, 0, NUM_BINS - 1)
    gaps = np.bincount(bins, weights=right - confidence, minlength=NUM_BINS)
    return float(np.abs(gaps).sum() / len(labels))


def cross_entropy(logits: Logits, labels: Labels) -> float:
    """Return the mean over rows of -log p(label), in nats."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    log_sums = np.log(np.exp(shifted).sum(axis=1))
    return float((log_sums - shifted[np.arange(len(labels)), labels]).mean())


def softmax(logits: Logits) -> NDArray[np.float64]:
    """Return probabilities [n, labels]."""
    powers: NDArray[np.float64] = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    powers /= powers.sum(axis=1, keepdims=True)
    return powers


def _label_metrics(name: str, matrix: NDArray[np.int64], index: int) -> LabelMetrics:
    right: Any = matrix[index, index]
    precision = _share(right, matrix[:, index].sum())
    recall = _share(right, matrix[index].sum())
    return LabelMetrics(
        label=name,
        precision=precision,
        recall=recall,
        f1=_share(2 * precision * recall, precision + recall),
        support=int(matrix[index].sum()),
    )


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else 0.0
