"""What a report shows of a classification: confusions, calibration, labels, and the worst mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from model_store.records.metrics import ClassificationDetail, Metrics
from training_service.markup.sections import Section
from training_service.tasks.classification.metrics import confidence, row_losses, softmax
from training_service.tasks.sections import CalibrationSection, calibration_section, labels_section
from training_service.tasks.training_task import Answers, Mistake, Mistakes

_MATRIX_LABELS = 24
_SHOWN_PAIRS = 20
_PAIRS_BESIDE = 8
_DEEP = 0.55  # a share whose colour is so deep that its number is written light
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Cell:
    """How many rows of a true label have a predicted one, and which share of the true label's rows that is."""

    count: int
    share: float
    is_right: bool

    @property
    def look(self) -> str:
        """The class of the page's style."""
        if not self.count:
            return ""
        return ("right" if self.is_right else "wrong") + (" deep" if self.share > _DEEP else "")


@dataclass(frozen=True)
class ConfusionsSection:
    """The confusion matrix, empty where it would be too large to read, and the most frequent confusions.

    Those are None of two labels: the matrix has both.
    """

    heading: ClassVar[str] = "Confusions"
    template: ClassVar[str] = "tasks/classification/confusions.html"
    labels: Sequence[str]
    matrix: Sequence[Sequence[Cell]]
    pairs: Sequence[tuple[str, str, str]] | None


def sections(metrics: Metrics, answers: Answers | None) -> Sequence[Section]:
    """Return confusions, calibration where the answers are at hand, and labels."""
    detail = cast("ClassificationDetail", metrics.detail)
    calibration = [_calibration(answers)] if answers is not None else []
    return [confusions_section(detail), *calibration, labels_section(detail.labels)]


def mistakes(answers: Answers, most: int) -> Mistakes:
    """Return the rows that were mistaken, those with the highest loss first."""
    wrong = np.flatnonzero(answers.outputs.argmax(axis=1) != answers.targets)
    if not len(wrong):
        return Mistakes(f"None: all {len(answers)} test rows are classified correctly.", ())
    losses = row_losses(answers.outputs[wrong], answers.targets[wrong])
    worst = wrong[np.argsort(-losses, kind="stable")[:most]]
    note = f"{len(wrong)} of {len(answers)} test rows are classified wrongly."
    if len(wrong) > most:
        note += f" These are the {most} with the highest loss, the worst first."
    return Mistakes(note, [_mistake(answers, int(row)) for row in worst])


def _mistake(answers: Answers, row: int) -> Mistake:
    names = answers.task.names
    scores = softmax(answers.outputs[row : row + 1] / answers.task.temperature)[0]
    guess, true = int(scores.argmax()), int(answers.targets[row])
    return Mistake(row, f"{names[guess]} {scores[guess]:.0%}", f"is {names[true]} {scores[true]:.0%}")


def confusions_section(detail: ClassificationDetail) -> ConfusionsSection:
    """Return the confusions of all rows; the matrix is left out where it would be too large to read."""
    names = [each.label for each in detail.labels]
    counts = np.array(detail.confusion_matrix)
    if len(names) > _MATRIX_LABELS:
        return ConfusionsSection(names, (), _pairs(names, counts, _SHOWN_PAIRS))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    matrix = [
        [Cell(int(counts[true, taken]), float(shares[true, taken]), true == taken) for taken in range(len(names))]
        for true in range(len(names))
    ]
    return ConfusionsSection(names, matrix, _pairs(names, counts, _PAIRS_BESIDE) if len(names) > 2 else None)


def _calibration(answers: Answers) -> CalibrationSection:
    temperature = answers.task.temperature
    plain, served = (
        confidence(softmax(outputs), answers.targets) for outputs in (answers.outputs, answers.outputs / temperature)
    )
    return calibration_section(plain, served, temperature, "rows")


def _pairs(names: list[str], counts: Counts, most: int) -> list[tuple[str, str, str]]:
    wrong = counts * (1 - np.eye(len(names), dtype=np.int64))
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = [divmod(int(place), len(names)) for place in order]
    return [
        (names[true], names[predicted], f"{counts[true, predicted]:,} of {counts[true].sum():,}")
        for true, predicted in pairs
        if wrong[true, predicted]
    ]
