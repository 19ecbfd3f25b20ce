"""Heads: fresh ones, those of JSON, and state dicts and arguments that fit no chain."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from model_store.architectures import (
    HEAD,
    Head,
    build,
    build_random,
    check_stage_tensors,
    embedding_size,
    initialise_head,
)
from model_store.errors import InvalidManifest
from model_store.modalities import Batch
from tests.model_store.architectures.networks import NUM_LABELS, images


@pytest.mark.parametrize("architecture", ["resnet18", "squeezenet1_1", "vit_b_16"])
def test_fresh_head_is_seeded(architecture: str) -> None:
    """The same seed gives the same head, PyTorch's own start of a linear layer; the global state stays."""
    state = torch.get_rng_state()
    heads = []
    for seed in (5, 5, 6):
        chain = build(architecture, {}, Head("linear", NUM_LABELS))
        initialise_head(chain, seed)
        heads.append(chain.stage_tensors(HEAD))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(heads[0][name], heads[1][name]) for name in heads[0])
    assert not any(torch.equal(heads[0][name], heads[2][name]) for name in heads[0])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        layer = nn.Linear(embedding_size(architecture, {}), NUM_LABELS)
    for ours, theirs in zip(heads[0].values(), layer.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs.detach(), rtol=0, atol=1e-6)


def test_fresh_head_goes_where_the_backbone_is() -> None:
    """A head for a loaded backbone trains at once: it has memory, gradients and the same device."""
    base = build_random("resnet18", {}, Head("none"), seed=0)
    chain = build("resnet18", {}, Head("linear", 4))
    for name, _ in base.backbone:
        chain.load_stage(name, base.stage_tensors(name))
    initialise_head(chain, 0)
    chain.eval()(Batch.of(images())).sum().backward()
    assert chain.head is not None
    assert all(p.grad is not None for p in chain.head.parameters())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda forms: forms.pop("fc.bias"), "lacks the tensor 'fc.bias'"),
        (lambda forms: forms.update({"fc.scale": ([1], torch.float32)}), "has no tensor 'fc.scale'"),
        (lambda forms: forms.update({"fc.bias": ([5], torch.float32)}), "'fc.bias' must be torch.float32 [4]"),
        (lambda forms: forms.update({"fc.bias": ([4], torch.float16)}), "'fc.bias' must be torch.float32 [4]"),
    ],
)
def test_tensors_that_do_not_fit_are_named(change, message) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    """A published head that lacks, adds, reshapes or retypes a tensor is refused by that tensor's name."""
    forms = {"fc.weight": ([4, 512], torch.float32), "fc.bias": ([4], torch.float32)}
    check_stage_tensors("resnet18", {}, Head("linear", 4), HEAD, forms)
    change(forms)
    with pytest.raises(InvalidManifest) as caught:
        check_stage_tensors("resnet18", {}, Head("linear", 4), HEAD, forms)
    assert message in str(caught.value)


def test_state_dict_that_does_not_fit_is_refused() -> None:
    """Loading names what is left over, and what has another shape."""
    chain = build("resnet18", {}, Head("none"))
    tensors = build_random("resnet18", {}, Head("none"), seed=0).state_dict_torchvision()
    with pytest.raises(InvalidManifest, match=r"no stage has a tensor named extra"):
        chain.load_state_dict_torchvision({**tensors, "extra": torch.zeros(1)})
    with pytest.raises(InvalidManifest, match=r"stage 'stem'.*conv1.weight"):
        chain.load_state_dict_torchvision({**tensors, "conv1.weight": torch.zeros(1)})


@pytest.mark.parametrize(
    ("architecture", "arguments", "head", "message"),
    [
        ("resnet19", {}, Head("none"), "unknown architecture 'resnet19'"),
        ("resnet18", {"depth": 3}, Head("none"), "no argument depth"),
        ("vit_b_16", {"image_size": 100}, Head("none"), "multiple of 16"),
        ("vit_b_16", {"image_size": "64"}, Head("none"), "multiple of 16"),
        ("resnet18", {}, Head("conv", 3), "squeezenet1_1's own"),
    ],
)
def test_chains_that_cannot_be_built(architecture: str, arguments: dict[str, object], head: Head, message: str) -> None:
    """An unknown architecture, argument or head is refused by name."""
    with pytest.raises(InvalidManifest, match=message):
        build(architecture, arguments, head)


@pytest.mark.parametrize(
    "values",
    [
        {"kind": "linear", "outputs": 3, "activation": "sigmoid"},
        {"kind": "none", "outputs": 0, "activation": "identity"},
        {"kind": "conv", "outputs": 1, "activation": "softmax"},
    ],
)
def test_head_survives_json(values: dict[str, object]) -> None:
    """A head is what its JSON says."""
    assert Head.from_json(values).to_json() == values


@pytest.mark.parametrize(
    "values",
    [
        {"kind": "linear", "outputs": 0, "activation": "softmax"},
        {"kind": "linear", "outputs": -1, "activation": "softmax"},
        {"kind": "linear", "outputs": "3", "activation": "softmax"},
        {"kind": "linear", "outputs": True, "activation": "softmax"},
        {"kind": "none", "outputs": 2, "activation": "softmax"},
        {"kind": "tree", "outputs": 2, "activation": "softmax"},
        {"kind": ["linear"], "outputs": 2, "activation": "softmax"},
        {"kind": "linear"},
        {"kind": "linear", "outputs": 2},
        {"kind": "linear", "outputs": 2, "activation": "relu"},
    ],
)
def test_head_is_validated(values: dict[str, object]) -> None:
    """A head that cannot be is refused where it is read."""
    with pytest.raises(InvalidManifest, match="head"):
        Head.from_json(values)
