"""Fitted heads in manifests and chains: sizes are checked before tensors are read, and tensors before they run."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from model_store.architectures import FITTED_KINDS, HEAD, Head, build, build_random, keeps_dtype, with_fitted_head
from model_store.architectures.heads import HEADS
from model_store.architectures.heads.stage import NEVER
from model_store.bases.tabular import load_rows
from model_store.errors import InvalidManifest
from model_store.modalities import Batch


def test_every_kind_has_a_stage() -> None:
    """And every stage a kind."""
    assert tuple(HEADS) == FITTED_KINDS


def test_a_head_of_a_manifest_has_its_sizes() -> None:
    """Heads without any are written as ever."""
    head = Head("gaussian_nb", 3, "softmax", {"seen": 2})
    assert Head.from_json(head.to_json()) == head
    assert hash(Head.from_json(head.to_json())) == hash(head)
    assert Head("linear", 3).to_json() == {"kind": "linear", "outputs": 3, "activation": "softmax"}


@pytest.mark.parametrize(
    ("head", "text"),
    [
        ({"kind": "gaussian_nb", "outputs": 2}, "head.arguments.seen must be a whole number in 1..2, not None"),
        ({"kind": "gaussian_nb", "outputs": 2, "arguments": {"seen": 3}}, "in 1..2, not 3"),
        ({"kind": "gaussian_nb", "outputs": 2, "arguments": {"seen": True}}, "not True"),
        (
            {"kind": "gaussian_nb", "outputs": 2, "arguments": {"seen": 2, "depth": 1}},
            "head.arguments.depth is unknown",
        ),
        ({"kind": "linear", "outputs": 2, "arguments": {"seen": 2}}, "must be left out where head.kind is 'linear'"),
        ({"kind": "gaussian_nb", "outputs": 2, "arguments": [2]}, "head.arguments must be an object"),
        ({"kind": "perceptron", "outputs": 2}, "head.kind must be one of linear, conv, none, logistic_regression"),
    ],
)
def test_sizes_that_are_none_are_refused(head: dict[str, Any], text: str) -> None:
    """By name, before anything is built of them."""
    with pytest.raises(InvalidManifest, match=text.replace("[", "\\[")):
        build("rows", {"size": 3}, Head.from_json({"activation": "softmax", **head}))


@pytest.mark.parametrize(
    ("name", "values"),
    [("seen", [0, 2]), ("seen", [-1, 0]), ("seen", [1, 1]), ("variance", [[1.0, 0.0], [1.0, 1.0]])],
)
def test_tensors_that_cannot_run_are_refused(name: str, values: list[Any]) -> None:
    """A wrong index would end a device's process."""
    chain = build("rows", {"size": 2}, Head("gaussian_nb", 2, "softmax", {"seen": 2}))
    tensors = {key: torch.ones(each.shape, dtype=each.dtype) for key, each in chain.stage_tensors(HEAD).items()}
    tensors["seen"] = torch.arange(2)
    chain.load_stage(HEAD, tensors)
    tensors[name] = torch.tensor(values, dtype=tensors[name].dtype)
    with pytest.raises(InvalidManifest, match=f"stage 'head': tensor '{name}' must be"):
        chain.load_stage(HEAD, tensors)


def test_it_goes_behind_any_backbone() -> None:
    """It reads the embedding, also where the head of the architecture reads a feature map."""
    backbone = build_random("squeezenet1_1", {}, Head("conv", 2), seed=0).eval()
    made = with_fitted_head(backbone, Head("ridge", 1, "identity"))
    made.load_stage(HEAD, {"weight": torch.ones(1, 512).double(), "bias": torch.zeros(1).double()})
    batch = Batch.of(torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    with torch.inference_mode():
        torch.testing.assert_close(made(batch)[:, 0], made.embed(batch).double().sum(dim=1).float())


def test_rows_are_their_own_embedding() -> None:
    """No number is changed or cast, and a label without rows has a score of 0."""
    base = load_rows(3)
    assert keeps_dtype(base.chain.stage("row"))
    head = with_fitted_head(base.chain, Head("logistic_regression", 3, "softmax", {"seen": 2}))
    head.load_stage(
        HEAD, {"seen": torch.tensor([2, 0]), "weight": torch.eye(2, 3).double(), "bias": torch.zeros(2).double()}
    )
    outputs = head(Batch.of(torch.tensor([[1.0, 1.0, 5.0]])))
    torch.testing.assert_close(outputs.exp(), torch.tensor([[0.5, 0.0, 0.5]]))
    assert outputs[0, 1] == NEVER
    with pytest.raises(InvalidManifest, match="rows has one argument, size"):
        load_rows(0)
