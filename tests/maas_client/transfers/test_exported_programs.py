"""Versions as programs: they run where maas is not installed, and answer as the version does."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file

from maas_client.errors import FailedPrecondition, InvalidArgument
from maas_client.transfers import exported_programs
from maas_client.transfers.exported_programs import Assembled
from maas_client.transfers.publish import publish_base
from model_store.bases.catalogue import LoadedBase, load_random
from model_store.bases.tabular import load_random_mlp
from model_store.calibration import batch_of
from model_store.modalities import Batch, Rows, prepared
from tests.maas_client.running import Maas, read
from tests.model_store.audio_models import audio_base
from tests.model_store.modalities.recordings import RATE, noise
from tests.model_store.text_models import text_base
from tests.training_service.registry_running import RunningRegistry

ELSEWHERE = """
import json, sys
sys.path.append(sys.argv[1])
import numpy, torch
pixels = torch.from_numpy(numpy.load(sys.argv[3]))
scores = torch.export.load(sys.argv[2]).module()(pixels)
ours = [name for name in sys.modules if name.startswith(("model_store", "maas", "torchvision"))]
print(json.dumps({"scores": scores.tolist(), "ours": ours}))
"""


@pytest.fixture(scope="module")
def base() -> LoadedBase:
    """A small network for small pictures, with random weights."""
    loaded = load_random("mobilenet_v3_small", seed=0, num_labels=3)
    return replace(loaded, input_spec=replace(loaded.input_spec, resize_size=40, crop_size=32))  # type: ignore[type-var]


def pictures(count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Return pixels as the input spec prepares them."""
    return np.random.default_rng(1).integers(0, 256, (count, 32, 32, 3), np.uint8)


def scores(base: LoadedBase, pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> torch.Tensor:
    """Return the version's own answers."""
    batch = base.input_spec.to_input(Batch({"pixels": torch.from_numpy(pixels)}, len(pixels)))
    with torch.no_grad():
        return base.chain(batch).softmax(dim=1)


@pytest.mark.slow
def test_an_exported_program_runs_without_maas(
    registry: RunningRegistry, maas: Maas, base: LoadedBase, tmp_path: Path
) -> None:
    """In a process that cannot import maas, on raw pixels, with another number of rows; the JSON says what they are."""
    publish_base(registry.client, "flowers", base)
    file, pixels = tmp_path / "flowers.pt2", pictures(5)
    assert read(maas, "store", "export", "flowers/1", str(file), "--format", "torch-export")["file"] == str(file)
    np.save(tmp_path / "pixels.npy", pixels)
    packages = str(Path(torch.__file__).parents[1])
    command = [sys.executable, "-I", "-S", "-c", ELSEWHERE, packages, str(file), str(tmp_path / "pixels.npy")]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path).stdout)
    assert found["ours"] == []
    assert torch.tensor(found["scores"]).allclose(scores(base, pixels), atol=1e-5)
    said = json.loads((tmp_path / "flowers.pt2.json").read_text())
    assert said["inputs"] == [{"name": "pixels", "dtype": "uint8", "shape": ["rows", 32, 32, 3]}]
    assert said["output"] == {"name": "output", "shape": ["rows", 3], "names": list(base.labels)}
    assert (said["activation"], said["input_spec"]["crop_size"]) == ("softmax", 32)
    assert sorted(path.name for path in tmp_path.glob("flowers*")) == ["flowers.pt2", "flowers.pt2.json"]


def test_onnx_answers_as_the_version(registry: RunningRegistry, base: LoadedBase, tmp_path: Path) -> None:
    """By onnxruntime, on raw pixels, with any number of rows."""
    publish_base(registry.client, "flowers", base)
    registry.client.export("flowers/1", tmp_path / "flowers.onnx", kind="onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "flowers.onnx"), providers=["CPUExecutionProvider"])
    for count in (1, 5):
        (found,) = session.run(["output"], {"pixels": pictures(count)})
        assert torch.from_numpy(found).allclose(scores(base, pictures(count)), atol=1e-5)


def test_numbers_and_texts_leave_as_programs(registry: RunningRegistry, tmp_path: Path) -> None:
    """A backbone of text takes any number of tokens; its tokenizer lies beside it. Numbers need no preparation."""
    mlp = load_random_mlp([4, 8], ["a", "b"], seed=0)
    publish_base(registry.client, "numbers", mlp)
    registry.client.export("numbers/1", tmp_path / "numbers.pt2", kind="torch-export")
    x = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted = mlp.chain(mlp.input_spec.to_input(Batch.of(x))).softmax(dim=1)
        assert torch.export.load(tmp_path / "numbers.pt2").module()(x).allclose(wanted, atol=1e-6)
    text = text_base()
    publish_base(registry.client, "words", text)
    registry.client.export("words/1", tmp_path / "words.onnx", kind="onnx")
    assert (tmp_path / "words.onnx.tokenizer").read_bytes() == text.files[0]
    session = onnxruntime.InferenceSession(str(tmp_path / "words.onnx"), providers=["CPUExecutionProvider"])
    for length in (3, 9):
        ids, mask = np.ones((2, length), np.int32), np.ones((2, length), np.bool_)
        batch = Batch({"ids": torch.from_numpy(ids), "mask": torch.from_numpy(mask)}, 2)
        with torch.no_grad():
            wanted = text.chain(text.input_spec.to_input(batch))
        (found,) = session.run(None, {"ids": ids, "mask": mask})
        assert torch.from_numpy(found).allclose(wanted, atol=1e-5)


def test_a_text_version_leaves_as_a_folder(registry: RunningRegistry, tmp_path: Path) -> None:
    """Its tokenizer and its head are in it; softmax of the logits there are the scores, the temperature divided in."""
    base = text_base(labels=("farm", "sea"))
    publish_base(registry.client, "topics", base)
    registry.client.export("topics/1", tmp_path / "topics", kind="huggingface")
    assert (tmp_path / "topics" / "tokenizer.json").read_bytes() == base.files[0]
    head = load_file(tmp_path / "topics" / "3_Dense" / "model.safetensors")
    assert torch.equal(head["linear.bias"], base.chain.stage_tensors("head")["classifier.bias"])
    halved = exported_programs._calibrated(base.chain, 2.0).stage_tensors("head")
    assert torch.equal(halved["classifier.bias"] * 2, head["linear.bias"])


@pytest.mark.parametrize("kind", ["torch-export", pytest.param("onnx", marks=pytest.mark.slow)])
def test_recordings_leave_as_programs_of_any_number_of_windows(
    registry: RunningRegistry, tmp_path: Path, kind: str
) -> None:
    """The front end, with its Fourier transform, is in the program; the JSON names the free dimensions."""
    base, file = audio_base(), tmp_path / "sounds.pt2"
    publish_base(registry.client, "sounds", base)
    registry.client.export("sounds/1", file, kind=kind)
    said = json.loads((tmp_path / "sounds.pt2.json").read_text())
    assert [each["shape"] for each in said["inputs"]] == [["rows", "length", 12_512], ["rows", "length"]]
    for seconds in ([0.5], [1.0, 3.0]):
        rows = prepared(base.input_spec, [(RATE, noise(0, each)) for each in seconds], 10**6)
        with torch.no_grad():
            wanted = base.chain(base.input_spec.to_input(batch_of(rows, torch.device("cpu")))).softmax(dim=1)
        found = answered(file, kind, rows)
        assert found.allclose(wanted, atol=1e-5)


def answered(file: Path, kind: str, rows: Rows) -> torch.Tensor:
    """Return what a program of this kind answers."""
    if kind == "onnx":
        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        return torch.from_numpy(session.run(None, dict(rows.arrays))[0])
    found: torch.Tensor = torch.export.load(file).module()(*map(torch.from_numpy, rows.arrays.values()))
    return found


def test_what_transformers_has_not_is_no_folder_of_its(
    registry: RunningRegistry, base: LoadedBase, tmp_path: Path
) -> None:
    """A network of torchvision leaves in other ways."""
    publish_base(registry.client, "flowers", base)
    with pytest.raises(FailedPrecondition, match="mobilenet_v3_small is no encoder by transformers' own modules"):
        registry.client.export("flowers/1", tmp_path / "folder", kind="huggingface")
    assert not (tmp_path / "folder").exists()


def test_a_program_that_answers_otherwise_is_not_written(
    registry: RunningRegistry, base: LoadedBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the file answers is compared with the version before the file appears."""
    publish_base(registry.client, "flowers", base)
    made = exported_programs._exported

    def wrong(version: Assembled) -> torch.export.ExportedProgram:
        version.chain.stage_tensors("head")["classifier.3.bias"][0] += 0.1
        return made(version)

    monkeypatch.setattr(exported_programs, "_exported", wrong)
    with pytest.raises(FailedPrecondition, match="answers otherwise than the version, by"):
        registry.client.export("flowers/1", tmp_path / "flowers.pt2", kind="torch-export")
    assert not list(tmp_path.glob("flowers*"))
    with pytest.raises(
        InvalidArgument, match="kind must be archive, torchvision, torch-export, onnx, huggingface, not 'keras'"
    ):
        registry.client.export("flowers/1", tmp_path / "flowers.pt2", kind="keras")
