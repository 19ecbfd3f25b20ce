"""Files of weights as people have them: each loads, or is refused by what it is and what to do about it."""

from __future__ import annotations

import argparse
import gzip
import io
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save
from torch import Tensor, nn

from model_store.architectures import Head, build_random
from model_store.bases.catalogue import load_tensors, load_weights_file
from model_store.bases.weights_files import read_weights
from model_store.errors import InvalidInput, InvalidManifest
from tests.inference_service.making import flip_a_byte

Tensors = Mapping[str, Tensor]
ARCHITECTURE = "squeezenet1_1"


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    """A small network's state dict."""
    return build_random(ARCHITECTURE, {}, Head("conv", 3), seed=0).state_dict_torchvision()


def saved(values: object, **options: Any) -> bytes:
    """Return what torch.save writes."""
    file = io.BytesIO()
    torch.save(values, file, **options)
    return file.getvalue()


def zipped(name: str) -> bytes:
    """Return an ordinary zip archive of one file."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, b"content")
    return file.getvalue()


def scripted() -> bytes:
    """Return a TorchScript program."""
    file = io.BytesIO()
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # people have such files all the same
        torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)), file)
    return file.getvalue()


def prefixed(tensors: Tensors, prefix: str) -> dict[str, Tensor]:
    """Return the tensors under names that a wrapper gives."""
    return {prefix + name: tensor for name, tensor in tensors.items()}


WRAPS: dict[str, Callable[[Tensors], Any]] = {
    "plain": dict,
    "model": lambda tensors: {"epoch": 3, "model": dict(tensors), "optimizer": {"state": {}}},
    "lightning": lambda tensors: {"epoch": 3, "state_dict": prefixed(tensors, "model.")},
    "data parallel": lambda tensors: prefixed(tensors, "module."),
    "compiled": lambda tensors: prefixed(tensors, "_orig_mod."),
    "both, nested": lambda tensors: {"model_state_dict": prefixed(tensors, "module._orig_mod.")},
    "moving average": lambda tensors: {
        "state_dict": {name: torch.zeros_like(tensor) for name, tensor in tensors.items()},
        "state_dict_ema": prefixed(tensors, "module."),
    },
    "averaged": lambda tensors: {**prefixed(tensors, "module."), "n_averaged": torch.tensor(3)},
}


@pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS)
def test_weights_are_found_in_what_they_come_in(
    tensors: Tensors, wrap: Callable[[Tensors], Any], tmp_path: Path
) -> None:
    """Checkpoints of trainers, names of wrappers, old and new files, and the same in memory."""
    values = wrap(tensors)
    for options in ({}, {"_use_new_zipfile_serialization": False}):
        (tmp_path / "weights.pth").write_bytes(saved(values, **options))
        found = load_weights_file(ARCHITECTURE, tmp_path / "weights.pth").chain.state_dict_torchvision()
        assert found.keys() == tensors.keys()
        assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    loaded = load_tensors(ARCHITECTURE, values, None, {})
    assert loaded.chain.state_dict_torchvision().keys() == tensors.keys()


def test_a_file_is_read_by_its_content_and_not_its_name(tensors: Tensors, tmp_path: Path) -> None:
    """Safetensors under .pth, and torch.save under .safetensors."""
    for name, data in (("a.pth", save(dict(tensors))), ("b.safetensors", saved(dict(tensors)))):
        (tmp_path / name).write_bytes(data)
        assert read_weights(tmp_path / name).keys() == tensors.keys()


def test_a_bin_file_is_not_read(tensors: Tensors, tmp_path: Path) -> None:
    """Whatever it holds: the refusal says how to save the same tensors."""
    (tmp_path / "pytorch_model.bin").write_bytes(saved(dict(tensors)))
    with pytest.raises(InvalidInput, match=r"pytorch_model\.bin is a \.bin file.*safetensors\.torch\.save_file"):
        read_weights(tmp_path / "pytorch_model.bin")


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
OTHERS: dict[str, tuple[Callable[[Tensors], bytes], str]] = {
    "empty": (lambda _: b"", "is empty: download or copy it again"),
    "web page": (lambda _: b"\n<!DOCTYPE html><html><body>Sign in", "is a web page: download the file itself"),
    "pointer": (lambda _: POINTER, "is a Git LFS pointer to the weights, not the weights: run `git lfs pull`"),
    "text": (
        lambda _: b"hello, world",
        "is neither safetensors nor a file of torch.save: it begins with b'hello, world'",
    ),
    "gzip": (lambda tensors: gzip.compress(saved(dict(tensors))), "is a compressed archive: unpack it first"),
    "zip": (lambda _: zipped("weights.bin"), r"is a zip archive of weights\.bin: unpack it"),
    "keras": (lambda _: b"\x89HDF\r\n\x1a\n" + bytes(99), "is an HDF5 file, as Keras writes"),
    "numpy": (lambda _: b"\x93NUMPY\x01\x00" + bytes(99), "is a NumPy array"),
    "program": (lambda _: scripted(), "is a TorchScript program, which is not run here"),
    "whole model": (
        lambda _: saved(nn.Sequential(nn.Linear(2, 2))),
        r"holds a Python object, torch\.nn\.modules\.container\.Sequential, whose code is not run here",
    ),
    "options": (
        lambda tensors: saved({"model": dict(tensors), "args": argparse.Namespace(lr=0.1)}),
        r"holds a Python object, argparse\.Namespace, whose code.*torch\.save\(model\.state_dict\(\), FILE\)",
    ),
    "cut short": (lambda tensors: saved(dict(tensors))[:-100], "is cut short or damaged"),
    "half": (lambda tensors: saved(dict(tensors))[:1000], "is cut short or damaged"),
    "old, cut short": (
        lambda tensors: saved(dict(tensors), _use_new_zipfile_serialization=False)[:-100],
        "is cut short: download or copy it again",
    ),
    "safetensors, cut short": (lambda tensors: save(dict(tensors))[:-100], "is cut short: download or copy it again"),
    "safetensors, its start": (lambda tensors: save(dict(tensors))[:200], "is cut short: download or copy it again"),
    "a flipped bit": (
        lambda tensors: flip_a_byte(saved(dict(tensors))),
        r"is damaged, its part \S+/data/\d+ has a wrong checksum: download or copy it again",
    ),
    "one tensor": (lambda _: saved(torch.ones(3)), "holds an object of type Tensor, and no state dict"),
    "nothing": (lambda _: saved({}), "holds nothing, and no state dict"),
    "no state dict": (lambda _: saved({"epoch": 3, "loss": 0.5}), "holds a dict of epoch, loss, and no state dict"),
    "sparse": (lambda _: saved({"a": torch.eye(3).to_sparse()}), "has a sparse, quantised or empty tensor 'a'"),
    "scalar": (
        lambda _: saved({"best": np.float64(1)}),
        r"holds a Python object, numpy\S+scalar, whose code is not run",
    ),
}


@pytest.mark.parametrize(("make", "said"), OTHERS.values(), ids=OTHERS)
def test_what_is_no_file_of_weights_is_told_by_what_it_is(
    tensors: Tensors, make: Callable[[Tensors], bytes], said: str, tmp_path: Path
) -> None:
    """In one line that says what to do; no library's text of several lines, and nothing of how to run its code."""
    (tmp_path / "ours.pth").write_bytes(make(tensors))
    with pytest.raises(InvalidInput, match=rf"^weights: ours\.pth {said}") as caught:
        load_weights_file(ARCHITECTURE, tmp_path / "ours.pth")
    assert "\n" not in str(caught.value)
    assert "weights_only" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 1e300])
def test_numbers_that_are_not_finite_are_refused(tensors: Tensors, number: float) -> None:
    """NaN, infinity, and what becomes infinite as float32; the tensor and its stage are named."""
    name = next(iter(tensors))
    damaged = {**tensors, name: tensors[name].double().clone()}
    damaged[name].view(-1)[5] = number
    with pytest.raises(InvalidManifest, match=f"{name} of stage stem has numbers that are not finite"):
        load_tensors(ARCHITECTURE, damaged, None, {})
