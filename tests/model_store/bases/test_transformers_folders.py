"""Folders of vision encoders: equal to transformers' own models, prepared as they ask, and no code of theirs runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from model_store.architectures import Head, build, build_random, stage_names
from model_store.architectures.libraries.needed import needed
from model_store.bases import folders, transformers_folders
from model_store.bases.folders import load_folder
from model_store.errors import BaseUnavailable, InvalidInput, InvalidManifest
from model_store.manifest_checks import check_manifest
from model_store.manifests import Manifest, ManifestStage
from model_store.modalities import Batch
from model_store.modalities.image.spec import ImageInputSpec, to_pixels

transformers = needed("transformers", "a test of its encoders")
SIZES = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64, "image_size": 32, "patch_size": 8}
STAGES = ("stem", "layer1", "layer2", "pool")
ROWS = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def saved(folder: Path, kind: str, *, classifier: bool, **options: Any) -> Any:
    """Write a small random encoder as people do; return the library's own model."""
    config = transformers.AutoConfig.for_model(kind, num_hidden_layers=2, num_labels=3, architectures=[], **SIZES)
    by_kind = transformers.AutoModelForImageClassification if classifier else transformers.AutoModel
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = by_kind.from_config(config).eval()
    model.save_pretrained(folder, **options)
    processor = {"size": {"height": 32, "width": 32}, "resample": 2, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return model


@pytest.mark.parametrize("kind", ["vit", "deit", "vit_msn", "ijepa", "dinov2", "dinov2_with_registers"])
def test_a_classifier_is_the_librarys(kind: str, tmp_path: Path) -> None:
    """Logits are within 1e-5, stages are cut at the layers, and the manifest alone builds the chain again."""
    model = saved(tmp_path, kind, classifier=True)
    found = load_folder(str(tmp_path))
    assert found.chain.stage_names == (*STAGES, "head")
    assert found.labels == ("LABEL_0", "LABEL_1", "LABEL_2")
    with torch.no_grad():
        assert found.chain(Batch.of(ROWS)).allclose(model(pixel_values=ROWS).logits, atol=1e-5)
    manifest = found.manifest([ManifestStage(name, "0" * 64) for name in found.chain.stage_names])
    assert check_manifest(Manifest.from_json(manifest.to_json())) == Head("linear", 3)
    rebuilt = build(manifest.architecture, manifest.arguments, found.head)
    rebuilt.load_state_dict_torchvision(found.chain.state_dict_torchvision())
    with torch.no_grad():
        assert torch.equal(rebuilt.eval()(Batch.of(ROWS)), found.chain(Batch.of(ROWS)))


@pytest.mark.parametrize("classifier", [True, False])
def test_a_version_becomes_a_folder_again(classifier: bool, tmp_path: Path) -> None:  # noqa: FBT001  a parameter
    """Transformers' own loader reads what is written, and so do we: the same weights, labels and preprocessing."""
    model = saved(tmp_path / "in", "dinov2", classifier=classifier)
    found = load_folder(str(tmp_path / "in"))
    manifest = found.manifest([ManifestStage(name, "0" * 64) for name in found.chain.stage_names])
    transformers_folders.save_encoder(tmp_path / "out", manifest, found.chain)
    again = load_folder(str(tmp_path / "out"))
    assert (again.labels, again.input_spec, again.arguments) == (found.labels, found.input_spec, found.arguments)
    theirs = type(model).from_pretrained(tmp_path / "out").eval()
    with torch.no_grad():
        assert torch.equal(again.chain(Batch.of(ROWS)), found.chain(Batch.of(ROWS)))
        assert torch.equal(theirs(pixel_values=ROWS)[0], model(pixel_values=ROWS)[0])


def test_an_encoder_alone_is_a_backbone(tmp_path: Path) -> None:
    """In half precision and in several files, by their index; its unused pooler is left out."""
    model = saved(tmp_path, "vit", classifier=False, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    found = load_folder(str(tmp_path))
    assert (found.head, found.labels, found.chain.stage_names) == (Head("none"), (), STAGES)
    assert not any("pooler" in name for name in found.chain.state_dict_torchvision())
    with torch.no_grad():
        wanted = model(pixel_values=ROWS).last_hidden_state[:, 0]
        assert found.chain.embed(Batch.of(ROWS)).allclose(wanted, atol=1e-5)


def test_a_student_with_two_heads_is_a_backbone(tmp_path: Path) -> None:
    """DeiT's own checkpoints have a classifier for the labels and one for the teacher: neither is a head by itself."""
    saved(tmp_path, "deit", classifier=False)
    config = transformers.DeiTConfig(num_hidden_layers=2, num_labels=3, **SIZES)
    with torch.random.fork_rng(devices=[]):
        model = transformers.DeiTForImageClassificationWithTeacher(config).eval()
    model.save_pretrained(tmp_path)
    found = load_folder(str(tmp_path))
    assert (found.head, found.labels) == (Head("none"), ())
    with torch.no_grad():
        wanted = model.deit(pixel_values=ROWS).last_hidden_state[:, 0]
        assert found.chain(Batch.of(ROWS)).allclose(wanted, atol=1e-5)


def test_a_fresh_head_can_be_trained_on_it(tmp_path: Path) -> None:
    """A fine-tune builds the same backbone under a head of other labels; gradients reach every layer."""
    saved(tmp_path, "dinov2", classifier=False)
    found = load_folder(str(tmp_path))
    chain = build_random(found.architecture, found.arguments, Head("linear", 5), seed=0)
    assert chain.embedding_size == 64
    chain.train()(Batch.of(ROWS)).sum().backward()
    unused = {name for name, each in chain.named_parameters() if each.grad is None}
    assert all(name.endswith("mask_token") for name in unused)


def test_preprocessing_follows_the_folder(tmp_path: Path) -> None:
    """A fixed size squashes as ViT's processor does, to the bit; a shortest edge with a centre crop cuts."""
    saved(tmp_path, "vit", classifier=False)
    spec = load_folder(str(tmp_path)).input_spec
    assert isinstance(spec, ImageInputSpec)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 40, 3), np.uint8))
    processor = transformers.models.vit.ViTImageProcessorPil(size={"height": 32, "width": 32})
    (wanted,) = processor(image, do_rescale=False, do_normalize=False, return_tensors="np")["pixel_values"]
    assert np.array_equal(to_pixels(image, spec), wanted.transpose(1, 2, 0))
    asked = {"size": {"shortest_edge": 36}, "do_center_crop": True, "resample": 3}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(asked))
    cut = load_folder(str(tmp_path)).input_spec
    assert cut == ImageInputSpec(36, 32, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**asked, "do_center_crop": False}))
    with pytest.raises(InvalidInput, match=r"preprocessor_config\.json has size .*; known are 32 x 32"):
        load_folder(str(tmp_path))


def edited(**entries: Any) -> Callable[[Path], None]:
    """Return an edit of config.json."""

    def edit(folder: Path) -> None:
        file = folder / "config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **entries}))

    return edit


def only_a_bin(folder: Path) -> None:
    """Leave a pickle, as older releases wrote it."""
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def cut_short(folder: Path) -> None:
    """Leave half of the weights."""
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:5000])


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (edited(auto_map={"AutoModel": "modeling.Mine"}), "has auto_map, which names code of the folder"),
        (edited(model_type="llama"), "is of model_type 'llama': of encoders beside the BERT family, known are vit"),
        (edited(num_hidden_layers=3), "lack 16 of the tensors of vit, such as"),
        (only_a_bin, r"pytorch_model\.bin may be a pickle and is not read: write them with save_pretrained"),
        (cut_short, r"model\.safetensors is damaged or no safetensors file"),
        (
            lambda folder: (folder / "preprocessor_config.json").unlink(),
            r"preprocessor_config\.json is not in the folder",
        ),
    ],
)
def test_what_is_wrong_with_a_folder_is_said(edit: Callable[[Path], None], said: str, tmp_path: Path) -> None:
    """Remote code, other families, missing tensors, pickles and missing files."""
    saved(tmp_path, "vit", classifier=False)
    edit(tmp_path)
    with pytest.raises(InvalidInput, match=said):
        load_folder(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "config", "said"),
    [
        ("llama", {}, "encoders of transformers are vit,"),
        ("vit", {**SIZES, "auto_map": {}}, "config must not have 'auto_map'"),
        ("vit", {**SIZES, "num_hidden_layers": 10**6}, "numbers up to 65536"),
        ("vit", {**SIZES, "num_hidden_layers": 5000}, r"config\.num_hidden_layers must be at most 100, not 5000"),
        ("vit", {**SIZES, "hidden_size": "32"}, r"config\.hidden_size must be a whole number above 0"),
        (
            "vit",
            {**SIZES, "image_size": [32, 32], "num_hidden_layers": 1},
            r"config\.image_size must be a whole number",
        ),
    ],
)
def test_a_strangers_configuration_is_refused(name: str, config: dict[str, Any], said: str) -> None:
    """A manifest may come from anyone: it names no code, and takes no memory beyond reason."""
    with pytest.raises(InvalidManifest, match=said):
        stage_names(f"transformers:{name}", {"config": config}, Head("none"))


def test_a_cut_that_answers_otherwise_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof at import finds a lost layer."""
    saved(tmp_path, "vit", classifier=True)
    made = transformers_folders.filled

    def wrong(*order: Any) -> Any:
        chain = made(*order)
        chain.stage("layer1").forward = lambda x: x
        return chain

    monkeypatch.setattr(transformers_folders, "filled", wrong)
    with pytest.raises(InvalidInput, match="answer otherwise than the library's model"):
        load_folder(str(tmp_path))


def test_a_name_of_the_hub_needs_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline, and nothing in the cache: the error says what to do."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert folders.is_one("hf:facebook/dinov2-small")
    with pytest.raises(BaseUnavailable, match=r"cannot download facebook/dinov2-small from the hub .*the folder"):
        load_folder("hf:facebook/dinov2-small")
