"""Versions with a fitted head as programs: each kind answers outside as its stage does."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime
import pytest
import torch

from maas_client.errors import FailedPrecondition
from maas_client.transfers.exported_programs import (
    Assembled,
    Program,
    write_huggingface,
    write_onnx,
    write_torch_export,
)
from model_store.architectures import HEAD, Head, HeadKind, build
from model_store.manifests import Manifest, ManifestStage
from model_store.modalities import Rows, X
from model_store.modalities.values.spec import ValuesInputSpec
from model_store.tasks import Classification, Regression
from tests.training_service.heads.fits import features, fit_rows, labels_of
from training_service.heads import HEADS, FittedTensors, averaged

WIDTH = 6
TRAIN, TEST = features(60, WIDTH), features(9, WIDTH, seed=3)
SETTINGS: dict[str, Any] = {
    "strength": 1.0, "gamma": 0.2, "smoothing": 1.0, "presence_threshold": 3.0, "neighbour_count": 5,
    "neighbour_weights": "distance", "hidden_width": 8, "tree_count": 4, "tree_learning_rate": 0.2, "leaf_count": 5,
    "forest_tree_count": 4, "leaf_row_count": 1,
}  # fmt: skip
KINDS = [*HEADS, "average"]
LABELS, TARGETS = Classification(("a", "b", "c")), Regression(("u", "v", "w"))


def fitted(kind: str, lowest: Any) -> FittedTensors:
    """Fit a head to three labels, or ridge regression to three targets; the average is of two kinds."""
    if kind == "average":
        parts = ["logistic_regression", "random_forest"]
        return averaged(parts, [fitted(part, lowest) for part in parts])
    task, targets = ("regression", TRAIN[:, 3:]) if kind == "ridge" else ("classification", labels_of(TRAIN, 3))
    return HEADS[kind].fit(fit_rows(TRAIN - lowest, targets, task, 3), SETTINGS)


def version(kind: str) -> Assembled:
    """Return a version of rows of numbers under a head of this kind, and its answers."""
    lowest = np.minimum(TRAIN.min(axis=0), TEST.min(axis=0)) if kind == "multinomial_nb" else np.float32(0)
    found, task = fitted(kind, lowest), TARGETS if kind == "ridge" else LABELS
    head = Head(cast("HeadKind", kind), 3, task.activation, found.arguments)
    chain = build("rows", {"size": WIDTH}, head).eval()
    chain.load_stage(HEAD, found.tensors)
    spec, rows = ValuesInputSpec(WIDTH), Rows({X: TEST - lowest}, len(TEST))
    manifest = Manifest(
        architecture="rows",
        arguments={"size": WIDTH},
        stages=tuple(ManifestStage(name, "0" * 64) for name in chain.stage_names),
        input_spec=spec.to_json(),
        task=task,
        head=head.to_json(),
        embedding_size=WIDTH,
    )
    with torch.no_grad():
        answers = Program(chain, spec, [X], manifest)(torch.from_numpy(rows.arrays[X]))
    return Assembled(manifest, chain, spec, rows, answers, {})


@pytest.mark.parametrize("kind", KINDS)
def test_an_exported_program_has_the_head(kind: str, tmp_path: Path) -> None:
    """With another number of rows than it was traced with, and the numbers of each kind's own dtype."""
    made = version(kind)
    write_torch_export(made, tmp_path / "head.pt2")
    program = torch.export.load(tmp_path / "head.pt2").module()
    for count in (1, 5):
        rows = torch.from_numpy(made.rows.arrays[X][:count])
        torch.testing.assert_close(program(rows), made.answers[:count], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(each, marks=[] if each in {"logistic_regression", "gradient_boosting"} else pytest.mark.slow)
        for each in KINDS
    ],
)
def test_onnx_has_the_head(kind: str, tmp_path: Path) -> None:
    """By onnxruntime, with any number of rows."""
    made = version(kind)
    write_onnx(made, tmp_path / "head.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "head.onnx"), providers=["CPUExecutionProvider"])
    for count in (1, 5):
        (found,) = session.run(None, {session.get_inputs()[0].name: made.rows.arrays[X][:count]})
        torch.testing.assert_close(torch.from_numpy(found), made.answers[:count], rtol=0, atol=1e-5)


def test_a_folder_of_transformers_has_no_place_for_it(tmp_path: Path) -> None:
    """The error names the formats that have."""
    with pytest.raises(FailedPrecondition, match=r"a gaussian_nb head .* export it with --format onnx or torch-export"):
        write_huggingface(version("gaussian_nb"), tmp_path / "folder")
    assert not (tmp_path / "folder").exists()
