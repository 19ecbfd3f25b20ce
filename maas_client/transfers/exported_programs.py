"""Versions as programs that run without maas: PyTorch's exported program, and ONNX, with normalisation inside.

A program takes rows as the input spec prepares them and returns the numbers of an
answer: activation and temperature are in it. Beside it stands a JSON file that says how rows are made.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from maas.model_store.v1 import model_store_pb2
from torch import Tensor, nn

from maas_client.errors import FailedPrecondition
from model_store.architectures import HEAD, Chain, Head, build
from model_store.architectures.activation import activated
from model_store.blobs.local import LocalBlobs
from model_store.calibration import read_calibration
from model_store.errors import InvalidInput
from model_store.manifest_checks import check_manifest
from model_store.manifests import Manifest
from model_store.modalities import MASK, Batch, InputSpec, Rows, is_sequence, read_input_spec
from model_store.modalities.spec import SpecWithFiles
from model_store.records.resources import CalibrationDigests
from model_store.tensors.stages import read_stages

_OUTPUT = "output"
_TOLERANCE = 1e-4  # of the largest number: another runtime sums in another order
_MAX_CHECKED = 16
_MAX_RANDOM = 3
_ANY_VALUE = (np.uint8, np.int16)
"""Types of which any number may be in a row: pixels and samples. Wider integers count something, such as tokens."""


@dataclass(frozen=True)
class Assembled:
    """A version on this machine: `rows` and what it answers to them, float32 [n, outputs]."""

    manifest: Manifest
    chain: Chain
    spec: InputSpec
    rows: Rows
    answers: Tensor
    files: dict[str, bytes]


class Program(nn.Module):
    """The whole of a model as one function of prepared rows, its tensors in the order of their names."""

    def __init__(self, chain: Chain, spec: InputSpec, names: Sequence[str], manifest: Manifest) -> None:
        super().__init__()
        self.chain, self.spec, self.names = chain, spec, tuple(names)
        self.activation = Head.from_json(manifest.head).activation
        self.temperature = getattr(manifest.task, "temperature", 1.0)

    def forward(self, *tensors: Tensor) -> Tensor:
        """Return the numbers of the answers, or of a backbone only the embeddings: float32 [n, outputs]."""
        batch = Batch(dict(zip(self.names, tensors, strict=True)), tensors[0].shape[0])
        return activated(self.chain(self.spec.to_input(batch)), self.activation, self.temperature)


def assembled(version: model_store_pb2.ModelVersion, blobs: LocalBlobs) -> Assembled:
    """Return a version whose blobs are here, its chain filled and checked.

    The rows are those that it is calibrated by and the answers its own, stored with it; where it has none, random rows
    and the chain's answers. Raises StoreError where a blob is missing or damaged.
    """
    manifest = Manifest.from_json(version.manifest_json.encode())
    head = check_manifest(manifest)
    chain = build(manifest.architecture, manifest.arguments, head)
    stages = read_stages(blobs, [stage.digest for stage in manifest.stages])
    for stage in manifest.stages:
        chain.load_stage(stage.name, stages[stage.digest])
    chain.eval().requires_grad_(requires_grad=False)
    spec = read_input_spec(manifest.input_spec)
    files = {name: bytes(blobs.read(digest)) for name, digest in manifest.input_spec.get("files", {}).items()}
    if isinstance(spec, SpecWithFiles):
        spec = spec.with_files(blobs)
    if version.HasField("calibration") and version.calibration.rows_digest:
        digests = CalibrationDigests(version.calibration.rows_digest, version.calibration.logits_digest)
        found = read_calibration(blobs, digests, spec, head.outputs)
        some = slice(0, min(_MAX_CHECKED, len(found.rows)))
        logits = torch.from_numpy(found.logits[some])
        answers = activated(logits, head.activation, getattr(manifest.task, "temperature", 1.0))
        return Assembled(manifest, chain, spec, found.rows[some], answers, files)
    rows = _random_rows(spec)
    with torch.no_grad():
        answers = Program(chain, spec, list(rows.arrays), manifest)(*_tensors(rows))
    return Assembled(manifest, chain, spec, rows, answers, files)


def write_torch_export(version: Assembled, path: Path) -> None:
    """Write PyTorch's exported program, which `torch.export.load(FILE).module()` runs; check what the file answers.

    https://pytorch.org/docs/stable/export.html. Raises FailedPrecondition where it cannot be exported, or answers
    otherwise than the version.
    """
    torch.export.save(_exported(version), path)
    program = torch.export.load(path).module()
    _check(version, lambda tensors: program(*tensors))


def write_onnx(version: Assembled, path: Path) -> None:
    """Write ONNX; check by onnxruntime what the file answers. Raises as `write_torch_export` does."""
    import onnxruntime

    names = list(version.rows.arrays)
    try:
        torch.onnx.export(
            _exported(version),
            (),
            path,
            input_names=names,
            output_names=[_OUTPUT],
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    except torch.onnx.errors.OnnxExporterError as error:
        raise _cannot(version, error) from error
    from onnxruntime.capi.onnxruntime_pybind11_state import InvalidGraph
    from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as Unsupported

    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except (InvalidGraph, Unsupported) as error:
        raise _cannot(version, error) from error
    arrays = [each.name for each in session.get_inputs()]
    _check(
        version,
        lambda tensors: torch.from_numpy(
            session.run(None, dict(zip(arrays, (each.numpy() for each in tensors), strict=True)))[0]
        ),
    )


def write_huggingface(version: Assembled, path: Path) -> None:
    """Write a folder in Hugging Face's layout, load it again, and check what it answers.

    A temperature is divided into the head. Raises FailedPrecondition where transformers has no such model, and as
    `write_torch_export` does.
    """
    from model_store.bases.folders import save_folder

    names, manifest = list(version.rows.arrays), version.manifest
    head, temperature = Head.from_json(manifest.head), getattr(manifest.task, "temperature", 1.0)
    chain = _calibrated(version.chain, temperature) if head.kind == "linear" else version.chain
    try:
        run = save_folder(path, manifest, chain, version.files)
    except InvalidInput as error:
        raise _cannot(version, error) from error

    def answer(tensors: list[Tensor]) -> Tensor:
        batch = Batch(dict(zip(names, tensors, strict=True)), len(tensors[0]))
        return activated(run(version.spec.to_input(batch)), head.activation)

    _check(version, answer)


def write_description(version: Assembled, name: str, path: Path) -> None:
    """Write the JSON beside a program: its inputs and outputs, and the input spec; and files of the spec, as it is."""
    manifest = version.manifest
    inputs = [
        {"name": each, "dtype": array.dtype.name, "shape": _sizes(version, each)}
        for each, array in version.rows.arrays.items()
    ]
    said = {
        "version": name,
        "manifest_digest": manifest.digest,
        "inputs": inputs,
        "output": {"name": _OUTPUT, "shape": ["rows", version.answers.shape[1]], "names": list(manifest.names)},
        "activation": Head.from_json(manifest.head).activation,
        "in_the_program": ["normalisation", "activation", "temperature"],
        "input_spec": dict(manifest.input_spec),
        "files": {each: f"{path.name}.{each}" for each in version.files},
    }
    path.with_name(f"{path.name}.json").write_text(json.dumps(said, indent=1, ensure_ascii=False) + "\n")
    for each, data in version.files.items():
        path.with_name(f"{path.name}.{each}").write_bytes(data)


WRITERS: dict[str, Callable[[Assembled, Path], None]] = {
    "torch-export": write_torch_export,
    "onnx": write_onnx,
    "huggingface": write_huggingface,
}
"""How a version becomes a program, by the name of the format."""


def _calibrated(chain: Chain, temperature: float) -> Chain:
    """Return a chain whose linear head gives logits that are divided by the temperature already."""
    calibrated = copy.deepcopy(chain)
    for tensor in calibrated.stage_tensors(HEAD).values():
        tensor.div_(temperature)
    return calibrated


def _exported(version: Assembled) -> torch.export.ExportedProgram:
    names = list(version.rows.arrays)
    program = Program(version.chain, version.spec, names, version.manifest).eval()
    # Two rows: of one, a trace might take the number for a constant.
    example = tuple(torch.cat([each[:1], each[-1:]]) for each in _tensors(version.rows))
    dims = tuple(dict.fromkeys(_free(version.rows, name), torch.export.Dim.DYNAMIC) for name in names)
    try:
        return torch.export.export(program, example, dynamic_shapes=(dims,))
    except (RuntimeError, ValueError, TypeError) as error:
        raise _cannot(version, error) from error


def _free(rows: Rows, name: str) -> tuple[int, ...]:
    """Return the dimensions of an array that may have any size: rows, and the length of rows that have a mask."""
    mask, shape = rows.arrays.get(MASK), rows.arrays[name].shape
    return (0, 1) if mask is not None and mask.shape[1] > 1 and is_sequence(name, shape, mask.shape) else (0,)


def _sizes(version: Assembled, name: str) -> list[str | int]:
    free = dict(zip(_free(version.rows, name), ("rows", "length"), strict=False))
    return [free.get(dim, size) for dim, size in enumerate(version.rows.arrays[name].shape)]


def _random_rows(spec: InputSpec) -> Rows:
    """Return a few rows like a blank one, with random numbers in them."""
    blank = spec.blank()
    random, found = np.random.default_rng(0), {}
    for name, array in blank.arrays.items():
        repeats = np.repeat(array, _MAX_RANDOM, axis=0)
        if array.dtype in _ANY_VALUE:
            limits = np.iinfo(array.dtype)
            repeats = random.integers(limits.min, limits.max, repeats.shape, array.dtype, endpoint=True)
        elif np.issubdtype(array.dtype, np.floating):
            repeats = random.standard_normal(repeats.shape).astype(array.dtype)
        found[name] = repeats
    return Rows(found, _MAX_RANDOM)


def _tensors(rows: Rows) -> list[Tensor]:
    return [torch.from_numpy(np.ascontiguousarray(array)) for array in rows.arrays.values()]


def _cannot(version: Assembled, error: Exception) -> FailedPrecondition:
    reason = " ".join(str(error).split())[:300]
    return FailedPrecondition(f"{version.manifest.architecture} cannot be written as a program: {reason}")


def _check(version: Assembled, run: Callable[[list[Tensor]], Tensor]) -> None:
    """Raise FailedPrecondition unless a program answers as the version does, one row at a time and all together."""
    tensors = _tensors(version.rows)
    with torch.no_grad():
        together = run(tensors)
        alone = torch.cat([run([each[:1] for each in tensors]), together[1:]])
    for found in (together, alone):
        difference = (found - version.answers).abs().max()
        if not difference <= _TOLERANCE * max(1.0, float(version.answers.abs().max())):
            raise FailedPrecondition(
                f"the program of {version.manifest.architecture} answers otherwise than the version, by "
                f"{float(difference):.2g}: it is not written"
            )
