"""The pictures that a version is most wrong about."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from model_store.modalities.image.spec import Pixels
from training_service.evaluation.evaluator import Evaluated
from training_service.markup.elements import Markup, element, joined
from training_service.reports.facts import JobFacts
from training_service.tasks.classification.metrics import row_losses, softmax

MAX_PICTURES = 24
_EDGE = 144
_QUALITY = 78


def mistakes(facts: JobFacts) -> Markup:
    """Show the test images that were mistaken, those with the highest loss first."""
    if facts.evaluated is None:
        return Markup()
    found = facts.evaluated.evaluation
    wrong = np.flatnonzero(found.logits.argmax(axis=1) != found.labels)
    if not len(wrong):
        return element("p", f"None: all {len(found.labels)} test images are right.", class_="note")
    losses = row_losses(found.logits[wrong], found.labels[wrong])
    worst = wrong[np.argsort(-losses, kind="stable")[:MAX_PICTURES]]
    note = f"{len(wrong)} of {len(found.labels)} test images are mistaken."
    if len(wrong) > MAX_PICTURES:
        note += f" These are the {MAX_PICTURES} with the highest loss, the worst first."
    pictures = [_picture(facts.evaluated, int(row)) for row in worst]
    return joined([element("p", note, class_="note"), element("div", *pictures, class_="pictures")])


def _picture(evaluated: Evaluated, row: int) -> Markup:
    """Write one picture as the model saw it, what it is, and what it was taken for."""
    found, position = evaluated.evaluation, int(evaluated.positions[row])
    scores = softmax(found.logits[row : row + 1] / found.temperature)[0]
    guess, true = int(scores.argmax()), int(found.labels[row])
    path = evaluated.manifest.rows[position].path
    image = element(
        "img",
        src=f"data:image/jpeg;base64,{thumbnail(evaluated.data.pixels[position])}",
        alt=f"{path}: {found.names[true]}",
        width=_EDGE,
        height=_EDGE,
        loading="lazy",
    )
    caption = element(
        "figcaption",
        element("span", f"{found.names[guess]} {scores[guess]:.0%}", class_="guess"),
        element("span", f"is {found.names[true]} {scores[true]:.0%}", class_="truth"),
        element("small", path, title=path),
    )
    return element("figure", image, caption)


def thumbnail(pixels: Pixels) -> str:
    """Return a small JPEG of pixels [h, w, 3] in base64."""
    file = io.BytesIO()
    Image.fromarray(pixels).resize((_EDGE, _EDGE), Image.Resampling.LANCZOS).save(file, "JPEG", quality=_QUALITY)
    return base64.b64encode(file.getvalue()).decode()
