"""The rows that a version is most wrong about."""

from __future__ import annotations

import base64

from training_service.evaluation.evaluator import Evaluated
from training_service.markup.elements import Markup, element, joined
from training_service.markup.elements import facts as fact_list
from training_service.modalities import MODALITIES
from training_service.modalities.modality import Facts, Picture
from training_service.reports.facts import JobFacts
from training_service.tasks import TRAINING_TASKS
from training_service.tasks.training_task import Mistake

MAX_SHOWN = 24


def mistakes(facts: JobFacts) -> Markup:
    """Show the test rows that the answers are most wrong about, the worst first."""
    if facts.evaluated is None:
        return Markup()
    answers = facts.evaluated.evaluation.answers
    found = TRAINING_TASKS[answers.task.kind].mistakes(answers, MAX_SHOWN)
    note = element("p", found.note, class_="note")
    if not found.rows:
        return note
    shown = [_shown(facts.evaluated, each) for each in found.rows]
    return joined([note, element("div", *shown, class_="pictures")])


def _shown(evaluated: Evaluated, mistake: Mistake) -> Markup:
    """Write one row as the model saw it, what it is, and what was answered."""
    position = int(evaluated.positions[mistake.row])
    manifest, rows = evaluated.manifest, evaluated.data.rows
    row = manifest.rows[position]
    seen = MODALITIES[manifest.modality].describe_mistake(manifest, row, rows[position : position + 1])
    caption = element(
        "figcaption",
        element("span", mistake.answer, class_="guess"),
        element("span", mistake.truth, class_="truth"),
        element("small", row.source, title=row.source),
    )
    return element("figure", _content(seen, f"{row.source}: {mistake.truth}"), caption)


def _content(seen: Picture | Facts, text: str) -> Markup:
    """Write a picture with a text for who does not see it, or names with values."""
    if isinstance(seen, Facts):
        return fact_list(list(seen.values.items()))
    source = f"data:image/jpeg;base64,{base64.b64encode(seen.jpeg).decode()}"
    return element("img", src=source, alt=text, loading="lazy")
