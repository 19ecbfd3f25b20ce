"""Recordings' versions in a faster precision: chosen by their own rows, the front end and the head in float32."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch

from inference_service.batching.queue_entry import Part
from inference_service.execution.executor import Executor
from inference_service.execution.work import Output, Work
from inference_service.models.calibration_check import Calibrator
from inference_service.models.cpu.compiled_stages import CompiledStages
from inference_service.models.cpu.openvino import OpenVino
from inference_service.models.loader import Loader
from inference_service.models.precision import Precision
from inference_service.models.resident import ResidentVersion
from inference_service.models.ways import Ways
from model_store.bases.base import LoadedBase
from model_store.blobs.cache import BlobCache
from model_store.blobs.local import LocalBlobs
from model_store.calibration import batch_of, write_calibration
from model_store.modalities import prepared
from model_store.names import VersionName
from model_store.records.resources import CalibrationDigests
from tests.inference_service.making import mlp_manifest
from tests.model_store.audio_models import SPEC, audio_base
from tests.model_store.modalities.recordings import RATE, noise, tone

CPU = torch.device("cpu")
NAME = VersionName("sounds", 1)
RECORDINGS = [(RATE, noise(seed, 0.5 + seed / 4)) for seed in range(4)] + [
    (RATE, tone(110 * (seed + 1))) for seed in range(4)
]
ROWS = prepared(SPEC, RECORDINGS, 10**6)


@pytest.fixture
def device_thread() -> Iterator[ThreadPoolExecutor]:
    """A thread for the device."""
    with ThreadPoolExecutor(1) as thread:
        yield thread


@pytest.fixture(autouse=True)
def _runs_bfloat16_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every CPU say that it does: the numbers are the same on all of them."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True, "avx512_vnni": True})


def loaded(blobs: LocalBlobs, thread: ThreadPoolExecutor, base: LoadedBase, answers_of: LoadedBase) -> ResidentVersion:
    """Store a version and what a chain answers to the rows; return it as `auto` serves it."""
    digest = blobs.put([mlp_manifest(blobs, base).to_json()]).digest
    written = write_calibration(blobs, answers_of.chain, ROWS, SPEC)
    digests = CalibrationDigests(written.rows, written.logits)
    calibrator = Calibrator(blobs, CPU, thread, lambda _: digests)
    return Loader(blobs, CPU, Executor(CPU).warm_up, calibrator, "auto").load(NAME, digest)


@pytest.mark.parametrize("architecture", ["speech_embedding", "audio_lstm"])
def test_what_agrees_is_served_in_bfloat16(
    blobs: LocalBlobs, device_thread: ThreadPoolExecutor, architecture: str
) -> None:
    """But for the front end and the head, which stay in float32: rows of several lengths, and their answers."""
    base = audio_base(architecture=architecture)
    version = loaded(blobs, device_thread, base, base)
    assert version.precision is Precision.BFLOAT16
    (found,) = version.agreements
    assert (found.num_rows, found.passes) == (len(RECORDINGS), True)
    assert found.max_score_shift > 0
    front_end = [tensor for tensor in version.backbone[0].module.state_dict().values() if tensor.is_floating_point()]
    assert {tensor.dtype for tensor in front_end} == {torch.float32}
    (answer,) = Executor(CPU).run([Part(Work(version, ROWS, frozenset({Output.SCORES})), 0, len(ROWS))])
    with torch.inference_mode():
        wanted = base.chain(SPEC.to_input(batch_of(ROWS, CPU))).softmax(dim=1).numpy()
    assert np.abs(answer[Output.SCORES] - wanted).max() < 0.05


def test_what_does_not_agree_is_served_in_float32(blobs: LocalBlobs, device_thread: ThreadPoolExecutor) -> None:
    """The stored answers are of another head: the trial is told."""
    version = loaded(blobs, device_thread, audio_base(), audio_base(head=9))
    assert version.precision is Precision.FLOAT32
    assert [each.passes for each in version.agreements] == [False]


def test_rows_of_any_length_are_not_compiled(blobs: LocalBlobs, tmp_path: Path) -> None:
    """OpenVINO's stages, and so int8, are for rows of one size: PyTorch runs the stages of recordings."""
    with closing(CompiledStages(BlobCache(tmp_path, 2**30), blobs, OpenVino(1))) as compiled:
        ways = Ways("auto", CPU, compiled).of(mlp_manifest(blobs, audio_base()), has_rows=True)
    assert ways == [(Precision.BFLOAT16, None), (Precision.FLOAT32, None)]
