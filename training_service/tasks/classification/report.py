"""What a report shows of a classification: confusions, calibration, labels, and the worst mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from model_store.records.metrics import ClassificationDetail, Metrics
from training_service.markup.elements import Markup, element, scrolling, table
from training_service.tasks.classification.metrics import confidence, row_losses, softmax
from training_service.tasks.sections import calibration_section, labels_section
from training_service.tasks.training_task import Answers, Mistake, Mistakes, Section

_MATRIX = "Rows of each label, by what they were taken for"
_MATRIX_LABELS = 24
_SHOWN_PAIRS = 20
_PAIRS_BESIDE = 8
Counts = NDArray[np.int64]


def sections(metrics: Metrics, answers: Answers | None) -> Sequence[Section]:
    """Return confusions, calibration where the answers are at hand, and labels."""
    detail = cast("ClassificationDetail", metrics.detail)
    found = [("Confusions", _confusions(detail))]
    if answers is not None:
        found.append(("Calibration", _calibration(answers)))
    return [*found, ("Labels", labels_section(detail.labels))]


def mistakes(answers: Answers, most: int) -> Mistakes:
    """Return the rows that were mistaken, those with the highest loss first."""
    wrong = np.flatnonzero(answers.outputs.argmax(axis=1) != answers.targets)
    if not len(wrong):
        return Mistakes(f"None: all {len(answers)} test rows are right.", ())
    losses = row_losses(answers.outputs[wrong], answers.targets[wrong])
    worst = wrong[np.argsort(-losses, kind="stable")[:most]]
    note = f"{len(wrong)} of {len(answers)} test rows are mistaken."
    if len(wrong) > most:
        note += f" These are the {most} with the highest loss, the worst first."
    return Mistakes(note, [_mistake(answers, int(row)) for row in worst])


def _mistake(answers: Answers, row: int) -> Mistake:
    names = answers.task.names
    scores = softmax(answers.outputs[row : row + 1] / answers.task.temperature)[0]
    guess, true = int(scores.argmax()), int(answers.targets[row])
    return Mistake(row, f"{names[guess]} {scores[guess]:.0%}", f"is {names[true]} {scores[true]:.0%}")


def _calibration(answers: Answers) -> Markup:
    temperature = answers.task.temperature
    plain, served = (
        confidence(softmax(outputs), answers.targets) for outputs in (answers.outputs, answers.outputs / temperature)
    )
    return calibration_section(plain, served, temperature, "rows")


def _confusions(detail: ClassificationDetail) -> Markup:
    """Show which labels are taken for which: the pairs that are confused most often, and of a few labels all."""
    names = [each.label for each in detail.labels]
    counts = np.array(detail.confusion_matrix)
    if len(names) > _MATRIX_LABELS:
        return _pairs(names, counts, _SHOWN_PAIRS)
    return element("div", _matrix(names, counts), _pairs(names, counts, _PAIRS_BESIDE), class_="beside")


def _matrix(names: list[str], counts: Counts) -> Markup:
    """Write the whole matrix as a table; a cell's colour is its share of the true label's rows."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    head = [element("th", "is ↓ taken for →", scope="col", class_="corner")]
    head += [element("th", element("span", name, title=name), scope="col", class_="turned") for name in names]
    rows = [
        element("tr", element("th", name, scope="row"), *(_cell(i, j, counts, shares) for j in range(len(names))))
        for i, name in enumerate(names)
    ]
    parts = element("caption", _MATRIX), element("thead", element("tr", *head)), element("tbody", *rows)
    return scrolling(element("table", *parts, class_="matrix"), _MATRIX)


def _cell(true: int, predicted: int, counts: Counts, shares: NDArray[np.float64]) -> Markup:
    share, count = float(shares[true, predicted]), int(counts[true, predicted])
    kind = "right" if true == predicted else "wrong"
    depth = " deep" if share > 0.55 else ""
    return element("td", count or "", class_=kind + depth if count else None, style=f"--share:{share:.3f}")


def _pairs(names: list[str], counts: Counts, most: int) -> Markup:
    wrong = counts * (1 - np.eye(len(names), dtype=np.int64))
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = [divmod(int(place), len(names)) for place in order]
    rows = [
        (names[true], names[predicted], f"{counts[true, predicted]:,} of {counts[true].sum():,}")
        for true, predicted in pairs
        if wrong[true, predicted]
    ]
    if not rows:
        return element("p", "No label was taken for another.", class_="note")
    return table(("Label", "Taken for", "Rows"), rows, "Confused most often", "pairs")
