"""Int8: stages quantised by the rows of a version, and served only where the version agrees with float32."""

from __future__ import annotations

import io
import json
import queue
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save

from inference_service.execution.executor import Executor
from inference_service.models.calibration_check import Calibrator
from inference_service.models.cpu.compile_stages import compile_stages
from inference_service.models.cpu.compiled_stages import Backbone, CompiledStages
from inference_service.models.cpu.openvino import OpenVino, nncf_version
from inference_service.models.cpu.quantising import CannotCompile, quantised
from inference_service.models.loader import Loader
from inference_service.models.precision import Backend, Precision, candidates
from inference_service.models.resident import ResidentVersion, StageKey
from model_store.architectures import Chain, Head, build_random, initialise_head
from model_store.blobs.cache import BlobCache
from model_store.blobs.local import LocalBlobs
from model_store.calibration import write_calibration
from model_store.manifests import Manifest, ManifestStage
from model_store.modalities import Rows
from model_store.modalities.image.spec import PIXELS
from model_store.names import VersionName
from model_store.records.resources import CalibrationDigests
from model_store.tasks import Classification
from model_store.tensors.stages import write_stages
from tests.inference_service.making import LABELS, SPEC, flip_a_byte, photo, pixels

pytestmark = [
    pytest.mark.slow,  # quantising takes minutes on a CPU without the instructions
    pytest.mark.skipif(nncf_version() is None, reason="nncf is not installed"),
]

CPU = torch.device("cpu")
HEAD = Head("linear", len(LABELS))
IMAGES = [pixels(photo(seed)) for seed in range(8)]
ROWS = Rows({PIXELS: np.stack(IMAGES)}, len(IMAGES))
WITHOUT_ROWS, AGREES, DISAGREES = (VersionName("flowers", number) for number in (1, 2, 3))
SECONDS = 120.0  # a process of its own starts, and machines are slow
QUANTISING = """
import json, sys
import torch
from inference_service.models.cpu.openvino import import_openvino
from inference_service.models.cpu.quantising import quantised

openvino = import_openvino()
x = openvino.opset13.parameter([-1, 3, 8, 8], openvino.Type.f32)
weights = openvino.opset13.constant(torch.randn(4, 3, 3, 3).numpy())
y = openvino.opset13.relu(openvino.opset13.convolution(x, weights, [1, 1], [0, 0], [0, 0], [1, 1]))
found = quantised(openvino.Model([y], [x]), torch.randn(4, 3, 8, 8))
operations = [each.get_type_name() for each in found.get_ops()]
print(json.dumps([operations, [name for name, module in sys.modules.items() if module is not None]]))
"""


class Serving:
    """A loader of three versions on one backbone: without rows, with its own answers to rows, and with another's."""

    def __init__(self, blobs: LocalBlobs, folder: Path, thread: ThreadPoolExecutor) -> None:
        self.stages = CompiledStages(BlobCache(folder, 2**30), blobs, OpenVino(2))
        self.improved: queue.Queue[VersionName] = queue.Queue()
        self._digest = stored(blobs, network(0))
        rows = {AGREES: calibrated(blobs, network(0)), DISAGREES: calibrated(blobs, network(9))}
        self.rows = blobs.path(rows[AGREES].rows)
        calibrator = Calibrator(blobs, CPU, thread, rows.get)
        warm_up, improved = Executor(CPU).warm_up, self.improved.put
        self.loader = Loader(blobs, CPU, warm_up, calibrator, "auto", compiled=self.stages, improved=improved)

    def stage_bytes(self, name: VersionName) -> int:
        """Return the bytes that a version is expected to take."""
        return sum(self.loader.stage_bytes(name, self._digest).values())

    def load(self, name: VersionName) -> ResidentVersion:
        """Return a version as it is served now."""
        return self.loader.load(name, self._digest)

    def compiled(self, name: VersionName) -> ResidentVersion:
        """Return a version as it is served when all its stages are compiled."""
        version = self.load(name)
        if not any(each.precision is Precision.INT8 for each in version.agreements):
            assert self.improved.get(timeout=SECONDS) == name
        return self.load(name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of compiled stages that the tests of this module share: compiling takes seconds."""
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture
def serving(blobs: LocalBlobs, folder: Path) -> Iterator[Serving]:
    """Serves by OpenVINO."""
    with ExitStack() as stack:
        made = Serving(blobs, folder, stack.enter_context(ThreadPoolExecutor(1)))
        stack.enter_context(closing(made.stages))
        yield made


@pytest.fixture(autouse=True)
def _runs_int8_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every CPU say so, and not of bfloat16: compiling takes seconds a precision."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_vnni": True})


def network(head: int) -> Chain:
    """Build a network of convolutions; all share the backbone."""
    chain = build_random("resnet18", {}, HEAD, 0)
    initialise_head(chain, head)
    return chain.eval().requires_grad_(requires_grad=False)


def stored(blobs: LocalBlobs, chain: Chain) -> str:
    """Store a network and return its manifest's digest."""
    written = write_stages(blobs, {name: chain.stage_tensors(name) for name in chain.stage_names})
    stages = tuple(ManifestStage(name, written[name].digest) for name in chain.stage_names)
    spec, task = SPEC.to_json(), Classification(LABELS)
    manifest = Manifest("resnet18", {}, stages, spec, task, HEAD.to_json(), chain.embedding_size)
    return blobs.put([manifest.to_json()]).digest


def calibrated(blobs: LocalBlobs, chain: Chain) -> CalibrationDigests:
    """Store the rows and what a network answers to them."""
    written = write_calibration(blobs, chain, ROWS, SPEC)
    return CalibrationDigests(written.rows, written.logits)


def test_a_version_that_agrees_is_served_in_int8(serving: Serving) -> None:
    """Its head stays in float32; the memory of a stage is a quarter of that in float32."""
    version = serving.compiled(AGREES)
    assert (version.precision, version.backend) == (Precision.INT8, Backend.OPENVINO)
    assert {(each.precision, each.backend) for each in version.backbone} == {(Precision.INT8, Backend.OPENVINO)}
    assert version.head is not None
    assert version.head.precision is Precision.FLOAT32
    (found,) = version.agreements
    assert (found.precision, found.backend, found.num_rows) == (Precision.INT8, Backend.OPENVINO, len(ROWS))
    assert found.passes
    assert 0 < found.max_score_shift < 0.05
    assert version.size_bytes == pytest.approx(serving.stage_bytes(AGREES), rel=0.01)
    assert version.size_bytes == pytest.approx(serving.stage_bytes(WITHOUT_ROWS) / 4, rel=0.01)
    assert serving.improved.empty()


def test_a_version_that_disagrees_is_served_in_float32(serving: Serving) -> None:
    """It shares the stages that the first version's rows scaled, and the report has the figures of int8."""
    version = serving.compiled(DISAGREES)
    assert (version.precision, version.backend) == (Precision.FLOAT32, Backend.OPENVINO)
    (found,) = version.agreements
    assert (found.precision, found.backend, found.passes) == (Precision.INT8, Backend.OPENVINO, False)
    assert serving.load(WITHOUT_ROWS).agreements == ()
    assert serving.improved.empty()


def test_without_rows_nothing_is_compiled_in_int8(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the first version of a backbone has none, int8 waits for the first version that has rows."""
    asked: list[list[Precision]] = []
    monkeypatch.setattr(serving.stages, "has", lambda *_, **__: False)
    monkeypatch.setattr(serving.stages, "compile", lambda _, precisions, *__: asked.append(precisions))
    serving.load(WITHOUT_ROWS)
    serving.load(AGREES)
    assert asked == [[Precision.FLOAT32], [Precision.INT8, Precision.FLOAT32]]


def check_float32_is_served_in_the_end(serving: Serving) -> None:
    """By OpenVINO, without a trial of int8, and nothing more is compiled."""
    assert serving.improved.get(timeout=SECONDS) == AGREES
    version = serving.load(AGREES)
    assert (version.precision, version.backend, version.agreements) == (Precision.FLOAT32, Backend.OPENVINO, ())
    serving.stages.close()  # when all that was asked for is done
    assert serving.improved.empty()


def test_rows_that_cannot_be_read_leave_float32(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another version of NNCF finds no stages in int8, nor rows to make them: those in float32 are served, and kept."""
    serving.compiled(AGREES)
    monkeypatch.setattr("inference_service.models.cpu.compiled_stages.nncf_version", lambda: "another")
    serving.rows.write_bytes(flip_a_byte(serving.rows.read_bytes()))
    assert serving.load(AGREES).backend is Backend.OPENVINO
    check_float32_is_served_in_the_end(serving)


def test_a_backbone_with_a_stage_that_cannot_be_quantised_is_not_tried(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The compiler says so of one stage; what was compiled in float32 is served, without a trial."""
    serving.compiled(AGREES)
    monkeypatch.setattr("inference_service.models.cpu.compiled_stages.nncf_version", lambda: "another")
    monkeypatch.setattr(serving.stages, "_reasons", refusing_layer1)
    assert serving.load(AGREES).precision is Precision.FLOAT32
    check_float32_is_served_in_the_end(serving)


def refusing_layer1(_: Backbone, files: Mapping[StageKey, Mapping[Precision, Path]], __: object) -> object:
    """Answer as a compiler that writes all files but one."""
    for file in [file for each in files.values() for file in each.values()]:
        file.write_bytes(b"compiled")
    return {"layer1": {"int8": "NNCF cannot quantise it"}}


def test_a_stage_that_cannot_be_quantised_is_compiled_in_float32(tmp_path: Path) -> None:
    """The compiler goes on, and says why there is no file."""
    stem, files = save(network(0).stage_tensors("stem")), {each: tmp_path / each for each in ("int8", "float32")}
    order = {
        "architecture": "resnet18",
        "arguments": {},
        "head": HEAD.to_json(),
        "row_shape": [3, 64, 64],
        "calibration_bytes": 0,
        "stages": [("stem", len(stem), files)],
    }
    assert compile_stages(order, io.BytesIO(stem)) == {"stem": {"int8": "there are no rows to calibrate it by"}}
    assert (files["int8"].exists(), files["float32"].exists()) == (False, True)


def test_quantising_imports_no_telemetry() -> None:
    """In a process of its own, as stages are compiled: NNCF does without, and quantises a convolution."""
    done = subprocess.run([sys.executable, "-c", QUANTISING], capture_output=True, text=True, check=True)
    operations, modules = json.loads(done.stdout.splitlines()[-1])
    assert {"Convolution", "FakeQuantize"} <= set(operations)
    assert "nncf.quantization" in modules
    assert [name for name in modules if name.startswith("openvino_telemetry")] == []


def test_without_rows_nothing_is_quantised() -> None:
    """Scales are not guessed."""
    with pytest.raises(CannotCompile, match="no rows"):
        quantised(None, torch.empty(0, 3, 8, 8))


def test_int8_is_tried_first_where_it_is_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not without OpenVINO, nor on a processor without products of 8 bits."""
    assert list(candidates("auto", CPU, can_quantise=True)) == [Precision.INT8, Precision.FLOAT32]
    assert list(candidates("auto", CPU)) == [Precision.FLOAT32]
    assert list(candidates("bfloat16", CPU, can_quantise=True)) == [Precision.BFLOAT16]
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    assert list(candidates("auto", CPU, can_quantise=True)) == [Precision.FLOAT32]
