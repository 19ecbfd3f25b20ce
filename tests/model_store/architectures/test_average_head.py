"""The mean of several fitted heads: scores and values are the mean of the parts' own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_store.architectures import Head, build
from model_store.errors import InvalidManifest
from tests.training_service.heads.fits import answers, features, fit_rows, flags_of, labels_of, stored_head
from training_service.heads import HEADS, averaged, kind

TRAIN, TEST = features(120, 5), features(30, 5, seed=5)
LINEAR: dict[str, Any] = {"strength": 1.0}
FOREST: dict[str, Any] = {"forest_tree_count": 5, "leaf_row_count": 2}


@pytest.mark.parametrize("task", ["classification", "multi_label", "regression"])
def test_the_mean_of_heads_is_that_of_their_answers(task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stored and read again as one head; a label that no training row has scores 0."""
    targets = {
        "classification": labels_of(TRAIN, 3) + 1,
        "multi_label": flags_of(TRAIN),
        "regression": TRAIN[:, 3:].astype(np.float32),
    }[task]
    rows = fit_rows(TRAIN, targets, task, 2 if task == "regression" else 4)
    linear = "ridge" if task == "regression" else "logistic_regression"
    settings = {linear: LINEAR, "random_forest": FOREST}
    own = [answers(stored_head(name, rows, each, tmp_path), TEST, task) for name, each in settings.items()]
    mean = kind.FittedKind(
        lambda *_: [],
        lambda rows, _: averaged(list(settings), [HEADS[name].fit(rows, each) for name, each in settings.items()]),
    )
    monkeypatch.setitem(HEADS, "average", mean)  # type: ignore[arg-type]  # a dict behind its Mapping
    found = answers(stored_head("average", rows, {}, tmp_path), TEST, task)
    np.testing.assert_allclose(found, np.mean(own, axis=0), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "head.arguments.parts must be a list of 1 to 16 heads"),
        ({"parts": [{"kind": "ridge", "arguments": {}}] * 17}, "must be a list of 1 to 16 heads"),
        ({"parts": [{"kind": "average", "arguments": {}}]}, r"parts\[0\] must have arguments, and a kind of logistic"),
        ({"parts": [{"kind": "ridge"}]}, r"parts\[0\] must have arguments"),
        ({"parts": [{"kind": [], "arguments": {}}]}, r"parts\[0\] must have arguments"),
        ({"parts": [{"kind": "ridge", "arguments": {"depth": 1}}]}, "head.arguments.depth is unknown"),
        ({"parts": [{"kind": "ridge", "arguments": {}}], "depth": 1}, "head.arguments.depth is unknown"),
    ],
)
def test_parts_that_are_none_are_refused(arguments: dict[str, Any], text: str) -> None:
    """By their place, before anything is built of them."""
    with pytest.raises(InvalidManifest, match=text):
        build("rows", {"size": 3}, Head("average", 1, "identity", arguments))
