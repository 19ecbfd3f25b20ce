"""Rows like those of training seldom seem to have drifted, other rows do, and what is stored is read with suspicion."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model_store.bases.tabular import load_random_mlp
from model_store.blobs.local import LocalBlobs
from model_store.calibration import read_logits, read_reference, write_calibration
from model_store.drift import MAX_NUMBERS, Numbers, Reference, max_bytes
from model_store.errors import InvalidManifest
from model_store.modalities import Rows, X
from model_store.modalities.values.spec import ValuesInputSpec
from model_store.tasks import Activation, Classification

SIZE, OUTPUTS, WINDOW = 40, 5, 200


def rows(count: int, seed: int, shift: float = 0.0) -> tuple[Numbers, Numbers]:
    """Return embeddings whose directions differ in spread, and logits that follow from them."""
    numbers = np.random.default_rng(seed)
    embeddings = numbers.normal(size=(count, SIZE)) * np.linspace(3, 0.2, SIZE) + shift
    weights = np.random.default_rng(0).normal(size=(SIZE, OUTPUTS)) / 4
    return embeddings.astype(np.float32), (embeddings @ weights).astype(np.float32)


def scores_of(logits: Numbers, activation: Activation) -> Numbers:
    """Return the scores of logits."""
    tensor = torch.from_numpy(logits)
    scores = {"softmax": tensor.softmax(1), "sigmoid": tensor.sigmoid(), "identity": tensor}[activation]
    found: Numbers = scores.numpy()
    return found


def reference(activation: Activation = "softmax", num_held_out: int = 200, seed: int = 2) -> Reference:
    """Describe some rows."""
    held_out, logits = rows(num_held_out, seed)
    found = Reference.of(rows(500, seed=1)[0], held_out, scores_of(logits, activation), activation)
    assert found is not None
    return found


def has_drifted(found: Reference, activation: Activation, seed: int, shift: float = 0.0) -> bool:
    """Say whether a window seems to have drifted."""
    embeddings, logits = rows(WINDOW, seed, shift)
    return any(
        each.psi > each.bound for each in found.drift(found.bins(embeddings, scores_of(logits, activation), activation))
    )


@pytest.mark.parametrize("num_held_out", [30, 200, 2000])
@pytest.mark.parametrize("activation", ["softmax", "sigmoid", "identity"])
def test_rows_of_the_same_kind_seldom_drift_and_others_do(activation: Activation, num_held_out: int) -> None:
    """Of 200 windows at most one in fifty; with few held-out rows too, where noise is larger."""
    found = [reference(activation, num_held_out, seed) for seed in range(2, 7)]
    assert np.mean([has_drifted(each, activation, seed) for each in found for seed in range(100, 140)]) <= 0.02
    assert all(has_drifted(each, activation, seed, shift=2.0) for each in found for seed in range(100, 105))


def test_each_number_is_named() -> None:
    """By what the task's answers say, beside the distance."""
    names = {each: list(reference(each).binnings) for each in ("softmax", "sigmoid", "identity")}  # type: ignore[arg-type]
    assert names["softmax"] == ["distance", "label", "confidence"]
    assert names["sigmoid"] == ["distance", "label_count", "confidence"]
    assert names["identity"] == ["distance", *(f"value_{number}" for number in range(4))]
    assert max(map(len, names.values())) <= MAX_NUMBERS


def test_the_distance_is_that_of_mahalanobis() -> None:
    """With fewer dimensions than directions that are kept it is exact."""
    trained = np.random.default_rng(0).normal(size=(400, 4)).astype(np.float32) @ np.diag([3, 2, 1, 0.5]).astype(
        np.float32
    )
    held_out = np.random.default_rng(1).normal(size=(100, 4)).astype(np.float32) * 2
    found = Reference.of(trained, held_out, np.zeros((100, 1), np.float32), "identity")
    assert found is not None
    centred = held_out - trained.mean(axis=0)
    wanted = np.sqrt(np.einsum("nd,de,ne->n", centred, np.linalg.inv(np.cov(trained.T)), centred))
    edges = np.quantile(wanted, np.arange(1, 10) / 10)
    np.testing.assert_allclose(found.binnings["distance"].edges, edges, rtol=1e-3)


def test_too_few_rows_tell_nothing_and_numbers_that_are_none_are_refused() -> None:
    """There is no reference of ten rows, nor one of NaN."""
    embeddings, logits = rows(10, seed=1)
    assert Reference.of(embeddings, embeddings, logits, "identity") is None
    embeddings, logits = rows(50, seed=1)
    logits[3, 0] = np.nan
    with pytest.raises(InvalidManifest, match="must be finite numbers"):
        Reference.of(embeddings, embeddings, logits, "identity")


def test_equal_rows_make_one_bin() -> None:
    """A model that always says the same, of rows that are all the same: other rows drift all the same."""
    same = np.ones((50, SIZE), np.float32)
    found = Reference.of(same, same, np.ones((50, 1), np.float32), "identity")
    assert found is not None
    at_rest = found.bins(same, np.ones((50, 1), np.float32), "identity")
    assert not any(each.psi > each.bound for each in found.drift(at_rest))
    moved = found.bins(same + 1, np.full((50, 1), 2, np.float32), "identity")
    assert all(each.psi > each.bound for each in found.drift(moved))


def test_it_is_stored_beside_the_logits(blobs: LocalBlobs) -> None:
    """And a version without one has none."""
    chain = load_random_mlp([4, 8], ["no", "yes"], seed=0).chain
    some = Rows({X: np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)}, 50)
    task, spec = Classification(("no", "yes")), ValuesInputSpec(4)
    embeddings = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    made = Reference.of(embeddings, embeddings, scores_of(embeddings[:, :2], "softmax"), "softmax")
    assert made is not None
    kept = write_calibration(blobs, chain, some, spec, made)
    plain = write_calibration(blobs, chain, some, spec)
    assert kept.rows == plain.rows
    np.testing.assert_array_equal(read_logits(blobs, kept.logits, 50, 2), read_logits(blobs, plain.logits, 50, 2))
    assert read_reference(blobs, plain.logits, 8, task) is None
    read = read_reference(blobs, kept.logits, 8, task)
    assert read is not None
    for name, tensor in made.to_tensors().items():
        assert torch.equal(read.to_tensors()[name], tensor), name
    assert sum(each.nbytes for each in made.to_tensors().values()) <= max_bytes(8)
    with pytest.raises(
        InvalidManifest, match=r"calibration logits .*: the reference for drift: directions has another"
    ):
        read_reference(blobs, kept.logits, 9, task)


@pytest.mark.parametrize(
    ("name", "tensor", "told"),
    [
        ("drift.mean", torch.zeros(SIZE, dtype=torch.float64), "mean has another form"),
        ("drift.mean", torch.full((SIZE,), float("nan")), "mean has another form"),
        ("drift.variances", torch.zeros(9), "variances must be positive"),
        ("drift.num_rows", torch.tensor([0]), "num_rows is wrong"),
        ("drift.edges.label", torch.tensor([1.0, 1.0]), "edges.label must ascend"),
        ("drift.edges.label", torch.arange(300.0), "edges.label must ascend"),
        ("drift.shares.label", torch.zeros(3), "shares.label"),
        ("drift.other", torch.zeros(3), "drift.other is unknown"),
    ],
)
def test_what_does_not_fit_is_named(name: str, tensor: torch.Tensor, told: str) -> None:
    """A stranger may have written it."""
    tensors = {**reference().to_tensors(), name: tensor}
    with pytest.raises(InvalidManifest, match=told):
        Reference.from_tensors(tensors, SIZE, OUTPUTS, "softmax")
