"""Each architecture is torchvision's own, cut into stages that can be stored, shared, frozen and put together again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from model_store.architectures import (
    HEAD,
    Chain,
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
from model_store.errors import InvalidManifest
from model_store.modalities import Batch

SIZE = 64  # pixels: enough for every network here to keep a feature map to the end
NUM_LABELS = 7


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Compute on one thread: on a busy machine two wait for one another far longer than these small inputs take."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def arguments_of(architecture: str) -> dict[str, int]:
    """Return what makes the architecture take SIZE pixels."""
    return {"image_size": SIZE} if architecture == "vit_b_16" else {}


def native_head(architecture: str) -> Head:
    """Return the head that torchvision's model has."""
    return Head("conv" if architecture == "squeezenet1_1" else "linear", NUM_LABELS)


def images(seed: int = 0) -> torch.Tensor:
    """Return two seeded inputs."""
    return torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


def randomised_chain(architecture: str) -> Chain:
    """Return a chain none of whose tensors is at a trivial value: no zero head, no BatchNorm at 0 and 1."""
    chain = build_random(architecture, arguments_of(architecture), native_head(architecture), seed=3)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for name, tensor in chain.state_dict_torchvision().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5, generator=generator)
            elif tensor.is_floating_point():
                tensor.add_(torch.randn(tensor.shape, generator=generator), alpha=0.02)
    return chain.eval()


def model_of_torchvision(architecture: str) -> nn.Module:
    """Return torchvision's model of as many classes, at whatever values."""
    with torch.random.fork_rng(devices=[]):
        model: nn.Module = torchvision.models.get_model(
            architecture, num_classes=NUM_LABELS, **arguments_of(architecture)
        )
    return model.eval()


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
