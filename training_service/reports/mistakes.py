"""The rows that a version is most wrong about."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from training_service.evaluation.evaluator import Evaluated
from training_service.modalities import MODALITIES
from training_service.modalities.modality import Picture
from training_service.reports.facts import JobFacts
from training_service.tasks import TRAINING_TASKS
from training_service.tasks.training_task import Mistake

MAX_SHOWN = 24


@dataclass(frozen=True)
class ShownRow:
    """A row as the model saw it, a JPEG as a `data:` URL or names and values; what was answered, and what is true."""

    source: str
    answer: str
    truth: str
    picture_url: str = ""
    values: Mapping[str, str] | None = None


@dataclass(frozen=True)
class WorstMistakes:
    """The rows, the worst first, and a sentence on how many there are."""

    heading: ClassVar[str] = "Worst mistakes"
    template: ClassVar[str] = "reports/mistakes.html"
    note: str
    rows: Sequence[ShownRow]


def mistakes(facts: JobFacts) -> WorstMistakes | None:
    """Return the test rows that the answers are most wrong about; None where nothing was measured."""
    if facts.evaluated is None:
        return None
    answers = facts.evaluated.evaluation.answers
    found = TRAINING_TASKS[answers.task.kind].mistakes(answers, MAX_SHOWN)
    return WorstMistakes(found.note, [_shown(facts.evaluated, each) for each in found.rows])


def _shown(evaluated: Evaluated, mistake: Mistake) -> ShownRow:
    position = int(evaluated.positions[mistake.row])
    manifest, rows = evaluated.manifest, evaluated.data.rows
    row = manifest.rows[position]
    seen = MODALITIES[manifest.modality].describe_mistake(manifest, row, rows[position : position + 1])
    if isinstance(seen, Picture):
        url = f"data:image/jpeg;base64,{base64.b64encode(seen.jpeg).decode()}"
        return ShownRow(row.source, mistake.answer, mistake.truth, picture_url=url)
    return ShownRow(row.source, mistake.answer, mistake.truth, values=seen.values)
