"""Measures multi-label predictions: each label of a row is decided by its own score, at a half."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from model_store.records.metrics import LabelMetrics, Metrics, MultiLabelDetail
from training_service.tasks.bootstrap import Counts, row_intervals
from training_service.tasks.calibration import Confidence
from training_service.tasks.classification.bootstrap import macro_f1
from training_service.tasks.sampled import Sampled
from training_service.tasks.training_task import Answers, Outputs, Validation

Truth = NDArray[np.float32]
"""1 where a row has a label, 0 elsewhere: [n, labels]."""
Numbers = NDArray[np.float64]
_LEAST = float(np.finfo(np.float32).min)


def measure(answers: Answers, split: str) -> Metrics:
    """Return the quality of outputs [n, labels] against the truth [n, labels].

    Outputs of -inf belong to labels that the model does not know: no row is given them, and there is no log loss where
    a row has one.
    """
    outputs, truth, temperature = answers.outputs, answers.targets > 0, answers.task.temperature
    predicted = outputs >= 0
    divided = outputs / temperature
    right, num_true, num_predicted = _counts(predicted, truth)
    precisions = [_average_precision(outputs[:, i], truth[:, i]) for i in range(truth.shape[1])]
    found = [precision for precision in precisions if precision is not None]
    loss = log_loss(divided, answers.targets)
    values = {
        "macro_f1": float(macro_f1(right, num_true, num_predicted)) if (num_true + num_predicted).any() else None,
        "micro_f1": float(_micro_f1(right, num_true, num_predicted)) if (num_true + num_predicted).any() else None,
        "mean_average_precision": float(np.mean(found)) if found else None,
        "subset_accuracy": float(is_exact(answers).mean()),
        "log_loss": loss if math.isfinite(loss) else None,
        "expected_calibration_error": confidence(divided, truth).error,
        "uncalibrated_error": confidence(outputs, truth).error,
    }
    kept = {name: value for name, value in values.items() if value is not None}
    intervals = dict(
        zip(("macro_f1", "micro_f1"), row_intervals(len(truth), sampled_f1(predicted, truth)), strict=True)
    )
    return Metrics(
        split=split,
        num_rows=len(truth),
        values=kept,
        intervals={name: each for name, each in intervals.items() if name in kept},
        detail=MultiLabelDetail(
            tuple(
                _label_metrics(name, int(right[i]), int(num_true[i]), int(num_predicted[i]), precisions[i])
                for i, name in enumerate(answers.task.names)
            ),
            temperature,
        ),
    )


def validate(outputs: Outputs, truth: Truth) -> Validation:
    """Return the macro F1 and the log loss."""
    counts = _counts(outputs >= 0, truth > 0)
    has_any = (counts[1] + counts[2]).any()
    return Validation(float(macro_f1(*counts)) if has_any else 0.0, log_loss(outputs, truth))


def is_exact(answers: Answers) -> NDArray[np.bool_]:
    """Say of each row whether it is given just its own labels."""
    right: NDArray[np.bool_] = ((answers.outputs >= 0) == (answers.targets > 0)).all(axis=1)
    return right


def confidence(outputs: Outputs, truth: NDArray[np.bool_]) -> Confidence:
    """Return the score of each label of each row, and whether the row has the label."""
    return Confidence(sigmoid(outputs).ravel(), truth.ravel())


def log_loss(outputs: Outputs, truth: Truth) -> float:
    """Return the mean over rows and labels of the log loss, in nats."""
    return float(mean_losses(outputs, truth).mean())


def mean_losses(outputs: Outputs, truth: Truth) -> Numbers:
    """Return the mean over labels of -log(score of what is true), of each row, in nats."""
    losses: Numbers = row_losses(outputs, truth) / outputs.shape[1]
    return losses


def row_losses(outputs: Outputs, truth: Truth) -> Numbers:
    """Return the sum over labels of -log(score of what is true), of each row, in nats."""
    wide = outputs.astype(np.float64)
    losses: Numbers = np.logaddexp(0, np.where(truth > 0, -wide, wide)).sum(axis=1)
    return losses


def sigmoid(outputs: Outputs) -> Numbers:
    """Return the scores [n, labels]."""
    scores: Numbers = np.exp(-np.logaddexp(0, -outputs.astype(np.float64)))
    return scores


def _counts(predicted: NDArray[np.bool_], truth: NDArray[np.bool_]) -> tuple[Numbers, Numbers, Numbers]:
    """Return for each label how many rows are right, have it, and are given it."""
    right, num_true, num_predicted = (
        each.sum(axis=0, dtype=np.float64) for each in (predicted & truth, truth, predicted)
    )
    return right, num_true, num_predicted


def _micro_f1(right: Numbers, num_true: Numbers, num_predicted: Numbers) -> Numbers:
    """Return the F1 score of all labels' decisions together, over the last axis; 0 where there are none."""
    found = (num_true + num_predicted).sum(axis=-1)
    score: Numbers = 2 * right.sum(axis=-1) / np.maximum(found, 1)
    return score


def sampled_f1(predicted: NDArray[np.bool_], truth: NDArray[np.bool_]) -> Sampled:
    """Return macro and micro F1 of samples of the rows: [samples, 2]."""
    parts = [each.astype(np.float32) for each in (predicted & truth, truth, predicted)]

    def figures(counts: Counts) -> Numbers:
        right, num_true, num_predicted = ((counts @ part).astype(np.float64) for part in parts)
        with np.errstate(invalid="ignore"):  # no label at all in a sample
            macro = macro_f1(right, num_true, num_predicted)
        return np.stack([macro, _micro_f1(right, num_true, num_predicted)], axis=1)

    return figures


def _average_precision(outputs: NDArray[np.float32], truth: NDArray[np.bool_]) -> float | None:
    """Return the area below precision by recall, as steps; None where no row has the label."""
    from sklearn.metrics import average_precision_score  # noqa: PLC0415  a second to import, and the service only reads metrics

    if not truth.any():
        return None
    return float(average_precision_score(truth, np.nan_to_num(outputs, neginf=_LEAST)))


def _label_metrics(
    name: str, right: int, num_true: int, num_predicted: int, average_precision: float | None
) -> LabelMetrics:
    return LabelMetrics(
        label=name,
        precision=right / max(num_predicted, 1),
        recall=right / max(num_true, 1),
        f1=2 * right / max(num_true + num_predicted, 1),
        support=num_true,
        average_precision=average_precision,
    )
