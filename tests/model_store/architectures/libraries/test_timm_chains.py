"""timm's models as chains: the cut is where a user of torchvision expects it, and the chain is the model."""

from __future__ import annotations

import pytest
import torch

from model_store.architectures import Head, build, build_random, build_stage, check_input, stage_names
from model_store.architectures.libraries.timm_chains import timm_model
from model_store.errors import ExtraMissing, InvalidManifest
from model_store.extras import NotInstalled
from model_store.modalities import Batch
from model_store.modalities.image.spec import ImageInputSpec
from model_store.modalities.values.spec import ValuesInputSpec

HEAD = Head("linear", 3)
FOUR = ("stem", "layer1", "layer2", "layer3", "layer4", "pool", "head")
STAGES = {
    "test_resnet": FOUR,
    "test_vit": ("stem", *(f"layer{number}" for number in range(1, 7)), "pool", "head"),
    "test_convnext": FOUR,
    "test_efficientnet": FOUR,
    "test_vit4": None,  # rotary tables are given to each block beside the tokens: see below
}


@pytest.mark.parametrize("name", [name for name, stages in STAGES.items() if stages])
def test_a_chain_is_the_model(name: str) -> None:
    """Stages are named and cut as torchvision's, their tensors are timm's, and the outputs are equal to the bit."""
    architecture = f"timm:{name}"
    assert stage_names(architecture, {}, HEAD) == STAGES[name]
    tensors = build_random(architecture, {}, HEAD, seed=1).state_dict_torchvision()
    chain = build(architecture, {}, HEAD)
    chain.load_state_dict_torchvision(tensors)
    with torch.random.fork_rng(devices=[]):
        model = timm_model(name, {}, HEAD.outputs)
    model.load_state_dict(tensors, strict=True)
    rows = torch.randn(2, 3, 160, 160, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        kept = rows.clone()
        assert torch.equal(chain.eval()(Batch.of(rows)), model.eval()(rows))
        assert torch.equal(rows, kept)


def test_deit_without_its_teacher_is_a_vit() -> None:
    """Its classifier is linear; the student that has two, one for its teacher, is refused below."""
    assert stage_names("timm:deit_tiny_patch16_224", {}, HEAD) == FOUR
    chain = build_random("timm:deit_tiny_patch16_224", {"img_size": 32}, HEAD, seed=1).eval()
    with torch.random.fork_rng(devices=[]):
        model = timm_model("deit_tiny_patch16_224", {"img_size": 32}, HEAD.outputs).eval()
    model.load_state_dict(chain.state_dict_torchvision(), strict=True)
    rows = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(chain(Batch.of(rows)), model(rows))


def test_no_stage_writes_into_its_input() -> None:
    """The output of a stage may be cached, and read by two successors."""
    chain = build_random("timm:test_resnet", {}, HEAD, seed=1).eval()
    batch = Batch.of(torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    with torch.no_grad():
        for name in chain.stage_names:
            before = batch.x.clone()
            after = chain.stage(name)(batch.x)
            assert torch.equal(batch.x, before)
            batch = Batch.of(after)


def test_numbers_that_no_checkpoint_has_are_there() -> None:
    """A network built without memory keeps the indices of its relative positions."""
    chain = build("timm:swin_tiny_patch4_window7_224", {}, HEAD)
    assert all(tensor.is_meta for tensor in chain.state_dict_torchvision().values())
    others = {name: each for name, each in chain.named_buffers() if "relative_position_index" in name}
    assert others
    assert not any(each.is_meta for each in others.values())
    assert all(each.max() == 13 * 13 - 1 for each in others.values())


def test_where_blocks_take_more_than_one_tensor_the_features_are_one_stage() -> None:
    """EVA gives its blocks rotary tables, too."""
    assert stage_names("timm:eva02_tiny_patch14_224", {}, HEAD) == ("features", "pool", "head")


def test_a_backbone_and_one_stage() -> None:
    """Without a head the embedding is the classifier's input; one stage can be built alone."""
    chain = build("timm:test_resnet", {}, Head("none"))
    assert chain.stage_names == FOUR[:-1]
    assert chain.embedding_size == chain.stage("layer4")[0][-1].conv2.out_channels  # type: ignore[index, union-attr]
    stage = build_stage("timm:test_resnet", {}, HEAD, "head")
    assert set(stage.state_dict()) == {"fc.weight", "fc.bias"}


@pytest.mark.parametrize(
    ("architecture", "arguments", "head", "said"),
    [
        ("timm:resnet51", {}, HEAD, r"timm \S+ has no model 'resnet51'; near are resnet"),
        ("timm:../x", {}, HEAD, r"has no model '\.\./x'"),
        ("timm:test_resnet", {"pretrained": True}, HEAD, "has no argument pretrained"),
        ("timm:test_vit", {"img_size": "224"}, HEAD, "img_size must be an integer"),
        ("timm:test_resnet", {}, Head("conv", 3), "take a head 'linear' or 'none', not 'conv'"),
        ("timm:deit_tiny_distilled_patch16_224", {}, HEAD, "does not end in one linear classifier"),
        ("other:resnet10t", {}, HEAD, "unknown architecture 'other:resnet10t'"),
    ],
)
def test_what_cannot_be_built_is_refused(
    architecture: str, arguments: dict[str, object], head: Head, said: str
) -> None:
    """A manifest names what timm has, and gives it nothing but a size."""
    with pytest.raises(InvalidManifest, match=said):
        build(architecture, arguments, head)


def test_the_input_must_fit() -> None:
    """Images, and of the size that a model is fixed to."""
    spec = ImageInputSpec(resize_size=168, crop_size=160)
    check_input("timm:test_vit", {"img_size": 160}, spec)
    with pytest.raises(InvalidManifest, match=r"crop_size must be 128, the argument img_size, not 160"):
        check_input("timm:test_vit", {"img_size": 128}, spec)
    with pytest.raises(InvalidManifest, match=r"input_spec\.kind must be 'image' for timm:test_vit, not 'values'"):
        check_input("timm:test_vit", {}, ValuesInputSpec(3))


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is missing is said to a caller, and the operator's own command is for the log."""

    def missing(extra: str, user: str) -> None:
        raise NotInstalled(f"{user} needs {extra}")

    monkeypatch.setattr("model_store.architectures.libraries.needed.require", missing)
    with pytest.raises(ExtraMissing, match=r"timm:test_byobnet needs the extra 'timm' .* \"maas-transfer\[timm\]\""):
        build("timm:test_byobnet", {}, HEAD)
