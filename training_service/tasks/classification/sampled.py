"""Metrics of bootstrap samples of the rows that classifications were measured on."""

from __future__ import annotations

import numpy as np

from training_service.tasks.classification.bootstrap import figures
from training_service.tasks.classification.metrics import confidence, is_among_best, is_best, row_losses, softmax
from training_service.tasks.sampled import Sampled, area_under_roc, mean_of
from training_service.tasks.training_task import Answers


def accuracy(answers: Answers) -> Sampled:
    """Return the share of rows whose label is predicted."""
    return mean_of(is_best(answers))


def top5_accuracy(answers: Answers) -> Sampled:
    """Return the share of rows whose label is among the best five."""
    return mean_of(is_among_best(answers))


def macro_f1(answers: Answers) -> Sampled:
    """Return the mean over labels of F1."""
    predicted, num_labels = answers.outputs.argmax(axis=1), len(answers.task.names)
    return lambda counts: figures(counts, answers.targets, predicted, num_labels)[:, 1]


def roc_auc(answers: Answers) -> Sampled:
    """Return the mean over labels of the area under each one's ROC curve."""
    found = np.unique(answers.targets)
    scores = softmax(answers.outputs / answers.task.temperature)
    return area_under_roc(scores[:, found], answers.targets[:, None] == found)


def log_loss(answers: Answers) -> Sampled:
    """Return the mean of -log p(label), in nats."""
    return mean_of(row_losses(answers.outputs / answers.task.temperature, answers.targets))


def calibration_error(answers: Answers) -> Sampled:
    """Return the expected calibration error."""
    scores = softmax(answers.outputs / answers.task.temperature)
    return confidence(scores, answers.targets).sampled_error(len(answers))


def uncalibrated_error(answers: Answers) -> Sampled:
    """Return the expected calibration error without the temperature."""
    return confidence(softmax(answers.outputs), answers.targets).sampled_error(len(answers))
