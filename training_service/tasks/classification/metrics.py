"""Measures classifications of rows that were not trained on."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from model_store.records.metrics import ClassificationDetail, LabelMetrics, Metrics
from training_service.tasks.calibration import Confidence
from training_service.tasks.classification.bootstrap import intervals, macro_f1
from training_service.tasks.training_task import Answers, Validation

_MIN_TOP5_LABELS = 11
"""Of ten labels, any five have half of the rows: a top-5 accuracy says nothing."""
Logits = NDArray[np.float32]
Labels = NDArray[np.int64]


def measure(answers: Answers, split: str) -> Metrics:
    """Return the quality of logits [n, labels] against labels [n].

    Of equal logits the first label is predicted, as in serving. Logits of -inf belong to labels that the model does not
    know: their rows are wrong, and there is no log loss then.
    """
    # A second to import, and the service only reads metrics.
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support  # noqa: PLC0415

    logits, labels, names = answers.outputs, answers.targets, answers.task.names
    divided = logits / answers.task.temperature
    predicted = logits.argmax(axis=1)
    every = np.arange(len(names))
    matrix = confusion_matrix(labels, predicted, labels=every)
    of_labels = precision_recall_fscore_support(labels, predicted, labels=every, zero_division=0)
    scores, loss = softmax(divided), cross_entropy(divided, labels)
    values = {
        "accuracy": float((predicted == labels).mean()),
        "macro_f1": float(macro_f1(matrix.diagonal(), matrix.sum(axis=1), matrix.sum(axis=0))),
        "expected_calibration_error": confidence(scores, labels).error,
        "top5_accuracy": float(is_among_best(answers).mean()) if len(names) >= _MIN_TOP5_LABELS else None,
        "log_loss": loss if math.isfinite(loss) else None,
        "roc_auc": _roc_auc(scores, labels),
        "uncalibrated_error": confidence(softmax(logits), labels).error,
    }
    return Metrics(
        split=split,
        num_rows=len(labels),
        values={name: value for name, value in values.items() if value is not None},
        intervals=dict(zip(("accuracy", "macro_f1"), intervals(matrix), strict=True)),
        detail=ClassificationDetail(
            labels=tuple(
                LabelMetrics(name, float(precision), float(recall), float(f1), int(support))
                for name, precision, recall, f1, support in zip(names, *of_labels, strict=True)
            ),
            confusion_matrix=tuple(tuple(int(count) for count in row) for row in matrix),
            temperature=answers.task.temperature,
        ),
    )


def validate(logits: Logits, labels: Labels) -> Validation:
    """Return the accuracy and the cross entropy."""
    return Validation(float((logits.argmax(axis=1) == labels).mean()), cross_entropy(logits, labels))


def confidence(scores: NDArray[np.float64], labels: Labels) -> Confidence:
    """Return how sure the best score of each row is, and whether it is its label's."""
    return Confidence(scores.max(axis=1), scores.argmax(axis=1) == labels)


def cross_entropy(logits: Logits, labels: Labels) -> float:
    """Return the mean over rows of -log p(label), in nats."""
    return float(row_losses(logits, labels).mean())


def row_losses(logits: Logits, labels: Labels) -> NDArray[np.float64]:
    """Return -log p(label) of each row, in nats; infinite for a logit of -inf, which `log_loss` would clip."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    log_sums = np.log(np.exp(shifted).sum(axis=1))
    losses: NDArray[np.float64] = log_sums - shifted[np.arange(len(labels)), labels]
    return losses


def softmax(logits: Logits) -> NDArray[np.float64]:
    """Return probabilities [n, labels]."""
    powers: NDArray[np.float64] = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    powers /= powers.sum(axis=1, keepdims=True)
    return powers


def is_best(answers: Answers) -> NDArray[np.bool_]:
    """Say of each row whether its label is predicted."""
    right: NDArray[np.bool_] = answers.outputs.argmax(axis=1) == answers.targets
    return right


def is_among_best(answers: Answers, num_best: int = 5) -> NDArray[np.bool_]:
    """Say of each row whether its label is among the best; of equal logits the first label is better.

    As in serving. scikit-learn's `top_k_accuracy_score` takes the last one, and has no rows that are wrong anyway.
    """
    logits, labels = answers.outputs, answers.targets
    own = logits[np.arange(len(labels)), labels][:, None]
    is_better = (logits > own) | ((logits == own) & (np.arange(logits.shape[1]) < labels[:, None]))
    right: NDArray[np.bool_] = (is_better.sum(axis=1) < num_best) & np.isfinite(own[:, 0])
    return right


def _roc_auc(scores: NDArray[np.float64], labels: Labels) -> float | None:
    """Return the mean over labels of the area under each one's ROC curve; None where all rows have one label."""
    from sklearn.metrics import roc_auc_score  # noqa: PLC0415  as in `measure`

    found = np.unique(labels)
    if len(found) < 2:
        return None
    return float(np.mean([roc_auc_score(labels == label, scores[:, label]) for label in found]))
