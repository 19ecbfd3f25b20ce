"""Each architecture is torchvision's own, cut into stages that can be stored, shared, frozen and put together again."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from model_store.architectures import (
    HEAD,
    Head,
    build,
    build_random,
    build_stage,
    check_stage_tensors,
    embedding_size,
    initialise_head,
    run_stage,
    stage_names,
    torchvision_architectures,
)
from model_store.architectures.chain import nest
from model_store.architectures.torchvision_compat import torchvision
from model_store.architectures.vision import rename_legacy
from model_store.modalities import Batch
from tests.model_store.architectures.networks import (
    NUM_LABELS,
    arguments_of,
    images,
    model_of_torchvision,
    native_head,
    randomised_chain,
)


@pytest.mark.parametrize("architecture", torchvision_architectures())
def test_chain_equals_torchvision(architecture: str) -> None:
    """The chain's tensors load strictly into torchvision's model, and both give the same logits."""
    chain, model = randomised_chain(architecture), model_of_torchvision(architecture)
    exported = chain.state_dict_torchvision()
    assert list(exported) == list(model.state_dict())
    model.load_state_dict(exported, strict=True)
    with torch.inference_mode():
        ours, theirs = chain(Batch.of(images())), model(images())
    assert ours.shape == (2, NUM_LABELS)
    assert ours.std() > 1e-3
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("architecture", torchvision_architectures())
def test_stages_put_together_again(architecture: str) -> None:
    """A chain built without memory and filled stage by stage answers as the one the tensors came from."""
    arguments, head = arguments_of(architecture), native_head(architecture)
    original, copy = randomised_chain(architecture), build(architecture, arguments, head).eval()
    assert copy.stage_names == original.stage_names == stage_names(architecture, arguments, head)
    for name in original.stage_names:
        tensors = original.stage_tensors(name)
        check_stage_tensors(
            architecture, arguments, head, name, {key: (each.shape, each.dtype) for key, each in tensors.items()}
        )
        copy.load_stage(name, tensors)
    with torch.inference_mode():
        assert torch.equal(copy(Batch.of(images())), original(Batch.of(images())))


@pytest.mark.parametrize("architecture", torchvision_architectures())
def test_no_stage_writes_into_its_input(architecture: str) -> None:
    """In training as in serving, a stage leaves its input alone, so that it may be cached or shared."""
    chain = randomised_chain(architecture).train()
    batch = Batch.of(images())
    with torch.no_grad():
        for name in chain.stage_names:
            before = batch.x.clone()
            output = run_stage(chain.stage(name), batch)
            assert torch.equal(batch.x, before), name
            batch = output


@pytest.mark.parametrize("architecture", torchvision_architectures())
def test_embedding_is_what_the_head_reads(architecture: str) -> None:
    """`embed` gives [n, d]; a linear head on it gives the logits; without a head it is what forward gives."""
    arguments = arguments_of(architecture)
    chain = build_random(architecture, arguments, Head("linear", NUM_LABELS), seed=0).eval()
    backbone = build(architecture, arguments, Head("none")).eval()
    for name, _ in chain.backbone:
        backbone.load_stage(name, chain.stage_tensors(name))
    with torch.inference_mode():
        embedding = chain.embed(Batch.of(images()))
        assert embedding.shape == (2, embedding_size(architecture, arguments))
        assert chain.head is not None
        assert torch.equal(chain.head(embedding), chain(Batch.of(images())))
        assert torch.equal(backbone(Batch.of(images())), embedding)
    assert backbone.head is None
    assert HEAD not in backbone.stage_names


@pytest.mark.parametrize("architecture", ["resnet18", "vit_b_16", "squeezenet1_1", "regnet_y_400mf"])
def test_random_weights_are_torchvisions(architecture: str) -> None:
    """A random base has the weights of torchvision's model after the same manual_seed; the global state stays."""
    state = torch.get_rng_state()
    ours = build_random(architecture, arguments_of(architecture), native_head(architecture), seed=11)
    assert torch.equal(torch.get_rng_state(), state)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        theirs = torchvision.models.get_model(architecture, num_classes=NUM_LABELS, **arguments_of(architecture))
    expected = theirs.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in ours.state_dict_torchvision().items())


def test_frozen_stages_do_not_change() -> None:
    """A training step leaves every tensor of the frozen stages as it was, BatchNorm statistics included."""
    chain = build_random("mobilenet_v2", {}, Head("linear", 3), seed=0)
    frozen = chain.stage_names[:4]
    chain.freeze(frozen).train()
    before = {name: tensor.clone() for name, tensor in chain.state_dict_torchvision().items()}
    optimiser = torch.optim.SGD([p for p in chain.parameters() if p.requires_grad], lr=0.1)
    torch.autograd.backward(nn.functional.cross_entropy(chain(Batch.of(images())), torch.tensor([0, 1])))
    optimiser.step()
    for name in chain.stage_names:
        changed = [key for key, tensor in chain.stage_tensors(name).items() if not torch.equal(tensor, before[key])]
        assert bool(changed) == (name not in frozen and name != "pool"), name


def test_freezing_fewer_stages_thaws_the_others() -> None:
    """The last call to freeze counts."""
    chain = build("resnet18", {}, Head("linear", 2)).freeze(["stem", "layer1"]).freeze(["stem"]).train()
    assert chain.stage("layer1").training
    assert all(p.requires_grad for p in chain.stage("layer1").parameters())
    assert not chain.stage("stem").training


def test_one_stage_alone() -> None:
    """A loader can build just the stage it lacks and give it the stored tensors without a copy."""
    tensors = build_random("resnet18", {}, Head("linear", 4), seed=0).stage_tensors("layer2")
    stage = build_stage("resnet18", {}, Head("linear", 4), "layer2")
    assert all(each.is_meta for each in stage.state_dict().values())
    stage.load_state_dict(tensors, strict=True, assign=True)
    assert all(stage.state_dict()[name].data_ptr() == each.data_ptr() for name, each in tensors.items())


def test_built_chains_are_independent() -> None:
    """Filling or changing one chain leaves the next one built as it was."""
    first = build("resnet18", {}, Head("linear", 4)).freeze(["stem"])
    initialise_head(first, 0)
    second = build("resnet18", {}, Head("linear", 4))
    assert all(each.is_meta for each in second.stage_tensors(HEAD).values())
    assert all(p.requires_grad for p in second.parameters())


def test_legacy_names_are_renamed() -> None:
    """Published checkpoints of DenseNet and ViT load, whose names are those of older releases."""
    legacy = {
        "features.denseblock1.denselayer2.norm.1.weight": "features.denseblock1.denselayer2.norm1.weight",
        "encoder.layers.encoder_layer_11.mlp.linear_2.bias": "encoder.layers.encoder_layer_11.mlp.3.bias",
        "features.denseblock1.denselayer2.norm1.weight": "features.denseblock1.denselayer2.norm1.weight",
        "features.norm.1.weight": "features.norm.1.weight",
    }
    for old, new in legacy.items():
        assert list(rename_legacy({old: torch.zeros(1)})) == [new]


def test_steps_of_one_path_must_follow_one_another() -> None:
    """Nesting cannot run `a`, then `b`, then `a` again, and says so."""
    with pytest.raises(ValueError, match="must follow one another"):
        nest([("a.0", nn.ReLU()), ("b", nn.ReLU()), ("a.1", nn.ReLU())])
