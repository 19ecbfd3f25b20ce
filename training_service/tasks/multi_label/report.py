"""What a report shows of a multi-label classification: calibration, labels, and the worst mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from model_store.records.metrics import Metrics, MultiLabelDetail
from training_service.markup.sections import Section
from training_service.tasks.multi_label.metrics import confidence, row_losses
from training_service.tasks.sections import CalibrationSection, calibration_section, labels_section
from training_service.tasks.training_task import Answers, Mistake, Mistakes

_SHOWN_LABELS = 6


def sections(metrics: Metrics, answers: Answers | None) -> Sequence[Section]:
    """Return calibration, where the answers are at hand, and labels."""
    detail = cast("MultiLabelDetail", metrics.detail)
    calibration = [_calibration(answers)] if answers is not None else []
    return [*calibration, labels_section(detail.labels, ["average_precision"])]


def mistakes(answers: Answers, most: int) -> Mistakes:
    """Return the rows with a label too many or too few, those with the highest loss first."""
    predicted, truth = answers.outputs >= 0, answers.targets > 0
    wrong = np.flatnonzero((predicted != truth).any(axis=1))
    if not len(wrong):
        return Mistakes(f"None: all labels of all {len(answers)} test rows are right.", ())
    losses = row_losses(answers.outputs[wrong], answers.targets[wrong])
    worst = wrong[np.argsort(-losses, kind="stable")[:most]]
    note = f"{len(wrong)} of {len(answers)} test rows have at least one wrong label."
    if len(wrong) > most:
        note += f" These are the {most} with the highest loss, the worst first."
    names = answers.task.names
    rows = [
        Mistake(int(row), _listed(names, predicted[row]), f"is {_listed(names, truth[row])}") for row in worst.tolist()
    ]
    return Mistakes(note, rows)


def _listed(names: Sequence[str], has_label: NDArray[np.bool_]) -> str:
    found = [name for name, has in zip(names, has_label, strict=True) if has]
    more = f" and {len(found) - _SHOWN_LABELS} more" if len(found) > _SHOWN_LABELS else ""
    return ", ".join(found[:_SHOWN_LABELS]) + more if found else "none"


def _calibration(answers: Answers) -> CalibrationSection:
    temperature, truth = answers.task.temperature, answers.targets > 0
    plain, served = (confidence(outputs, truth) for outputs in (answers.outputs, answers.outputs / temperature))
    return calibration_section(plain, served, temperature, "labels of rows")
