"""Near duplicates of rows that were learned from are found whichever task they were learned for."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from model_store.tasks import Classification, MultiLabel, Regression, Task
from training_service.datasets.manifest import DatasetManifest, DatasetRow, RowColumns, Target
from training_service.datasets.splits import Split, SplitSpec
from training_service.evaluation.learned_rows import LearnedRows
from training_service.modalities.image.near_duplicates import perceptual_hash


def row(seed: int, target: Target, *, is_changed: bool = False) -> DatasetRow:
    """Return a row of a smooth picture, as it is or a little brighter."""
    coarse = np.random.default_rng(seed).integers(0, 250, (6, 6, 3), np.uint8)
    picture = Image.fromarray(coarse).resize((90, 80), Image.Resampling.BICUBIC)
    facts: dict[str, Any] = {"width": 90, "height": 80}
    facts["perceptual_hash"] = perceptual_hash(picture.point(lambda level: level + 2 * is_changed))
    digest = hashlib.sha256(f"{seed} {is_changed}".encode()).hexdigest()
    return DatasetRow(f"{seed}.png", 0, target, Split.TEST, "0" * 64, 0, 1, digest, facts)


@pytest.mark.parametrize(
    ("task", "target"), [(MultiLabel(("red",)), (0,)), (Regression(("age",)), (1.5,)), (Classification(("red",)), 0)]
)
def test_near_duplicates_are_found_across_tasks(task: Task, target: Target) -> None:
    """A version for several labels, on a base that learned one label a picture, is not judged by changed copies."""
    learned = row(1, 0)
    rows = RowColumns.of([row(1, target, is_changed=True), row(2, target)])
    manifest = DatasetManifest("image", task, SplitSpec(), (), rows)
    found = LearnedRows({learned.sha256: ("red", learned.facts)}).among(manifest, np.arange(2))
    assert found.tolist() == [True, False]
