"""Files of weights: read without running code; a file of another format is refused with the name of that format."""

from __future__ import annotations

import hashlib
import pickle  # for the error that torch.load(weights_only=True) raises; nothing is unpickled here
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from model_store.errors import InvalidInput
from model_store.texts import listed

# The exceptions of torch and safetensors for files of another format.
_READING_ERRORS = (
    OSError,
    RuntimeError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    EOFError,
    AssertionError,
    struct.error,
    SafetensorError,
    pickle.UnpicklingError,
)
_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"
_SIZE_BYTES = 8  # of the header of safetensors, which follows and is JSON
_SNIFFED_BYTES = 512
# First bytes of other formats that are often found under the name of a weights file, and the advice for each.
_OTHER_KINDS = (
    (
        re.compile(rb"version https://git-lfs"),
        "is a Git LFS pointer to the weights, not the weights: run `git lfs pull`",
    ),
    (re.compile(rb"\s*<(!doctype|html|\?xml|head|body)", re.IGNORECASE), "is a web page: download the file itself"),
    (re.compile(rb"\x89HDF\r\n"), "is an HDF5 file, as Keras writes: export it to PyTorch first"),
    (re.compile(rb"\x93NUMPY"), "is a NumPy array: save a state dict, torch.save(model.state_dict(), FILE)"),
    (re.compile(rb"\x1f\x8b|BZh|\xfd7zXZ\x00|7z\xbc\xaf|Rar!"), "is a compressed archive: unpack it first"),
)
_UNSAFE = re.compile(r"GLOBAL ([\w.]+)")
_SAVE = "save the tensors alone, torch.save(model.state_dict(), FILE)"
_SAVE_SAFELY = (
    "save the tensors as safetensors, safetensors.torch.save_file(model.state_dict(), 'model.safetensors'), or of a "
    "model of transformers, model.save_pretrained(FOLDER)"
)
# The keys of a checkpoint that hold its state dict, in this order: averaged weights first, as timm reads its own.
_NESTED = (
    "state_dict_ema",
    "model_ema",
    "state_dict",
    "model_state_dict",
    "model",
    "module",
    "net",
    "network",
    "weights",
    "params",
)
# The prefixes that wrappers add to names.
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.")
_AVERAGED = "n_averaged"  # entries of torch.optim.swa_utils.AveragedModel that are no weights


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the state dict in a file of safetensors or of `torch.save`; the content decides which.

    A state dict inside a checkpoint is found, and prefixes of wrappers (DataParallel, torch.compile) are removed.
    Raises InvalidInput with the format found and the advice for it.
    """
    if not path.is_file():
        raise _refused(path, "is not there" if not path.exists() else "is not a file")
    if path.suffix == ".bin":
        raise _refused(path, f"is a .bin file, which often holds a pickle and is not read: {_SAVE_SAFELY}")
    with path.open("rb") as file:
        start = file.read(_SNIFFED_BYTES)
    if not start:
        raise _refused(path, "is empty: download or copy it again")
    for pattern, said in _OTHER_KINDS:
        if pattern.match(start):
            raise _refused(path, said)
    values = _read(path, start)
    return {name: _dense(path, name, each) for name, each in without_prefixes(state_dict_in(path.name, values)).items()}


def state_dict_in(name: str, values: object) -> dict[str, Tensor]:
    """Return the state dict that a file of this name held, alone or in a checkpoint; raise InvalidInput."""
    if isinstance(values, Mapping) and values:
        if all(isinstance(each, Tensor) for each in values.values()):
            return {str(key): each for key, each in values.items()}
        for key in _NESTED:
            if isinstance(values.get(key), Mapping):
                return state_dict_in(name, values[key])
        found = f"a dict of {_listed(values)}"
    else:
        found = "nothing" if isinstance(values, Mapping) else f"an object of type {type(values).__name__}"
    raise InvalidInput.of("weights", f"{name} holds {found}, and no state dict: {_SAVE}")


def without_prefixes(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict by the names of its model, without the prefixes of wrappers."""
    found = {name: tensor for name, tensor in tensors.items() if name != _AVERAGED}
    while prefix := next((each for each in _PREFIXES if found and all(name.startswith(each) for name in found)), ""):
        found = {name.removeprefix(prefix): tensor for name, tensor in found.items()}
    return found


def sha256_of(path: Path) -> str:
    """Return the digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(path: Path, start: bytes) -> object:
    is_safetensors = start[_SIZE_BYTES:].startswith(b"{") and not start.startswith(_ZIP)
    if start.startswith(_ZIP):
        _check_zip(path)
    elif not is_safetensors and not start.startswith(_PICKLE):
        raise _refused(path, f"is neither safetensors nor a file of torch.save: it begins with {start[:16]!r}")
    read: Callable[[Path], Any] = load_file if is_safetensors else _load_state_dict
    try:
        return read(path)
    except _READING_ERRORS as error:
        raise _refused(path, _reason(str(error))) from error


def _load_state_dict(path: Path) -> Any:  # noqa: ANN401  whatever the file holds
    with path.open("rb") as file:  # of a path, torch.load would believe the suffix
        return torch.load(file, weights_only=True, map_location="cpu")


def _check_zip(path: Path) -> None:
    """Read every byte against its checksum, which `torch.load` does not."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            damaged = archive.testzip()
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError, OSError, zlib.error) as error:
        raise _refused(path, f"is cut short or damaged ({error}): download or copy it again") from error
    if damaged is not None:
        raise _refused(path, f"is damaged, its part {damaged} has a wrong checksum: download or copy it again")
    if any(name.endswith("/constants.pkl") for name in names):
        raise _refused(path, f"is a TorchScript program, which is not run here: {_SAVE} of torch.jit.load(FILE)")
    if not any(name.endswith("/data.pkl") for name in names):
        raise _refused(path, f"is a zip archive of {_listed(names)}: unpack it, and name the file of weights")


def _reason(error: str) -> str:
    """Return the meaning of a library's error, on one line."""
    if (unsafe := _UNSAFE.search(error)) is not None:
        return f"holds a Python object, {unsafe[1]}, whose code is not run here: where you trust it, {_SAVE}"
    if "file not fully covered" in error or "unexpected EOF" in error or "invalid header length" in error:
        return "is cut short: download or copy it again"
    first = " ".join(error.split())[:200]
    return f"cannot be read as weights ({first or 'it ends too early'}): download it again, or {_SAVE}"


def _dense(path: Path, name: str, tensor: Tensor) -> Tensor:
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_meta:
        raise _refused(path, f"has a sparse, quantised or empty tensor {name!r}: save plain tensors of floats")
    return tensor


def _listed(names: Iterable[object]) -> str:
    return listed([str(name)[:60] for name in names], 5)


def _refused(path: Path, said: str) -> InvalidInput:
    return InvalidInput.of("weights", f"{path.name} {said}")
