"""Metrics of bootstrap samples of the rows that multi-label predictions were measured on."""

from __future__ import annotations

import numpy as np

from training_service.tasks.multi_label.metrics import confidence, is_exact, mean_losses, sampled_f1
from training_service.tasks.sampled import Sampled, average_precision, mean_of
from training_service.tasks.training_task import Answers


def macro_f1(answers: Answers) -> Sampled:
    """Return the mean over labels of F1."""
    figures = sampled_f1(answers.outputs >= 0, answers.targets > 0)
    return lambda counts: figures(counts)[:, 0]


def micro_f1(answers: Answers) -> Sampled:
    """Return F1 of all labels' decisions together."""
    figures = sampled_f1(answers.outputs >= 0, answers.targets > 0)
    return lambda counts: figures(counts)[:, 1]


def mean_average_precision(answers: Answers) -> Sampled:
    """Return the mean over labels of the average precision."""
    return average_precision(answers.outputs.astype(np.float64), answers.targets > 0)


def subset_accuracy(answers: Answers) -> Sampled:
    """Return the share of rows that are given just their own labels."""
    return mean_of(is_exact(answers))


def log_loss(answers: Answers) -> Sampled:
    """Return the mean over rows and labels of the log loss, in nats."""
    return mean_of(mean_losses(answers.outputs / answers.task.temperature, answers.targets))


def calibration_error(answers: Answers) -> Sampled:
    """Return the expected calibration error."""
    scores = answers.outputs / answers.task.temperature
    return confidence(scores, answers.targets > 0).sampled_error(len(answers))


def uncalibrated_error(answers: Answers) -> Sampled:
    """Return the expected calibration error without the temperature."""
    return confidence(answers.outputs, answers.targets > 0).sampled_error(len(answers))
