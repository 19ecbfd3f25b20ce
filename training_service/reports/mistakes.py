"""The pictures that a version is most wrong about."""

from __future__ import annotations

import base64
import io

from PIL import Image

from model_store.modalities.image.spec import Pixels
from training_service.evaluation.evaluator import Evaluated
from training_service.markup.elements import Markup, element, joined
from training_service.reports.facts import JobFacts
from training_service.tasks import TRAINING_TASKS
from training_service.tasks.training_task import Mistake

MAX_PICTURES = 24
_EDGE = 144
_QUALITY = 78


def mistakes(facts: JobFacts) -> Markup:
    """Show the test rows that the answers are most wrong about, the worst first."""
    if facts.evaluated is None:
        return Markup()
    answers = facts.evaluated.evaluation.answers
    found = TRAINING_TASKS[answers.task.kind].mistakes(answers, MAX_PICTURES)
    note = element("p", found.note, class_="note")
    if not found.rows:
        return note
    pictures = [_picture(facts.evaluated, each) for each in found.rows]
    return joined([note, element("div", *pictures, class_="pictures")])


def _picture(evaluated: Evaluated, mistake: Mistake) -> Markup:
    """Write one picture as the model saw it, what it is, and what was answered."""
    position = int(evaluated.positions[mistake.row])
    path = evaluated.manifest.rows[position].path
    image = element(
        "img",
        src=f"data:image/jpeg;base64,{thumbnail(evaluated.data.pixels[position])}",
        alt=f"{path}: {mistake.truth}",
        width=_EDGE,
        height=_EDGE,
        loading="lazy",
    )
    caption = element(
        "figcaption",
        element("span", mistake.answer, class_="guess"),
        element("span", mistake.truth, class_="truth"),
        element("small", path, title=path),
    )
    return element("figure", image, caption)


def thumbnail(pixels: Pixels) -> str:
    """Return a small JPEG of pixels [h, w, 3] in base64."""
    file = io.BytesIO()
    Image.fromarray(pixels).resize((_EDGE, _EDGE), Image.Resampling.LANCZOS).save(file, "JPEG", quality=_QUALITY)
    return base64.b64encode(file.getvalue()).decode()
