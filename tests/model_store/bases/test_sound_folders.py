"""Folders of audio encoders: equal to transformers' own models on the features of its own extractors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model_store.architectures import Head, build, build_random
from model_store.architectures.libraries.needed import needed
from model_store.bases.folders import load_folder, save_folder
from model_store.errors import InvalidInput, InvalidManifest
from model_store.manifest_checks import check_manifest
from model_store.manifests import Manifest, ManifestStage
from model_store.modalities.audio.spec import AudioInputSpec
from model_store.modalities.batch import MASK, Batch, X
from tests.model_store.modalities.recordings import RATE, noise, tone

transformers = needed("transformers", "a test of its encoders")
WHISPER = {
    "d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 64, "decoder_layers": 2,
    "decoder_attention_heads": 2, "decoder_ffn_dim": 16, "num_mel_bins": 80, "max_source_positions": 50,
    "vocab_size": 20, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1,
    "max_target_positions": 8,
}  # fmt: skip
OF_SAMPLES = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "conv_dim": [8, 8, 8],
    "conv_stride": [5, 4, 4], "conv_kernel": [10, 4, 4], "num_feat_extract_layers": 3, "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}  # fmt: skip
SIZES: dict[str, dict[str, Any]] = {"whisper": WHISPER, "wav2vec2": OF_SAMPLES, "hubert": OF_SAMPLES}
STAGES = ("front_end", "stem", "layer1", "layer2", "pool", "windows")


def saved(folder: Path, kind: str, **entries: Any) -> Any:
    """Write a small random model as people do; return it."""
    config = transformers.AutoConfig.for_model(kind, **SIZES[kind], **entries)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = transformers.AutoModel.from_config(config).eval()
    model.save_pretrained(folder)
    extractor(kind).save_pretrained(folder)
    return model


def extractor(kind: str) -> Any:
    """Return the library's own extractor of features."""
    if kind == "whisper":
        return transformers.WhisperFeatureExtractor(feature_size=80, chunk_length=1)
    return transformers.Wav2Vec2FeatureExtractor(do_normalize=True)


def rows(spec: AudioInputSpec) -> list[np.ndarray[Any, Any]]:
    """Return the samples of two windows."""
    seconds = spec.window / RATE
    return [noise(0, seconds), tone(440, seconds) * np.linspace(0, 1, spec.window, dtype=np.float32)]


def batch(windows: list[np.ndarray[Any, Any]]) -> Batch:
    """Return a row for each window."""
    x = torch.from_numpy(np.stack(windows)).unsqueeze(1)
    return Batch({X: x, MASK: torch.ones(x.shape[:2], dtype=torch.bool)}, len(x))


@pytest.mark.parametrize(
    ("kind", "entries"),
    [("whisper", {}), ("wav2vec2", {}), ("wav2vec2", {"do_stable_layer_norm": True}), ("hubert", {})],
)
def test_an_encoder_is_the_librarys(kind: str, entries: dict[str, Any], tmp_path: Path) -> None:
    """Within 1e-5, from samples on; the manifest alone builds the chain again, and a row's windows are averaged."""
    model = saved(tmp_path, kind, **entries)
    found = load_folder(str(tmp_path))
    assert (found.chain.stage_names, found.head, found.chain.embedding_size) == (STAGES, Head("none"), 32)
    spec = found.input_spec
    assert isinstance(spec, AudioInputSpec)
    windows = rows(spec)
    features = extractor(kind)(windows, sampling_rate=RATE, return_tensors="pt")
    encoder = model.encoder if kind == "whisper" else model
    with torch.no_grad():
        wanted = encoder(**{encoder.main_input_name: features[encoder.main_input_name]}).last_hidden_state.mean(dim=1)
        answered = found.chain(batch(windows))
        assert (answered - wanted).abs().max() < 1e-5
        together = Batch({X: batch(windows).x.transpose(0, 1), MASK: torch.ones(1, 2, dtype=torch.bool)}, 1)
        assert found.chain(together).allclose(answered.mean(dim=0, keepdim=True), atol=1e-5)
    manifest = found.manifest([ManifestStage(name, "0" * 64) for name in found.chain.stage_names])
    assert check_manifest(Manifest.from_json(manifest.to_json())) == Head("none")
    rebuilt = build(manifest.architecture, manifest.arguments, found.head)
    rebuilt.load_state_dict_torchvision(found.chain.state_dict_torchvision())
    with torch.no_grad():
        assert torch.equal(rebuilt.eval()(batch(windows)), answered)


@pytest.mark.parametrize("kind", ["whisper", "wav2vec2"])
def test_a_fresh_head_can_be_trained_on_it(kind: str, tmp_path: Path) -> None:
    """A fine-tune builds the same backbone under a head; gradients reach every layer, and nothing is left to chance."""
    saved(tmp_path, kind)
    found = load_folder(str(tmp_path))
    assert isinstance(found.input_spec, AudioInputSpec)
    chain = build_random(found.architecture, found.arguments, Head("linear", 5), seed=0).train()
    chain(batch(rows(found.input_spec))).sum().backward()
    unused = {name for name, each in chain.named_parameters() if each.requires_grad and each.grad is None}
    assert all("masked_spec_embed" in name for name in unused)


def edited(folder: Path, file: str, **entries: Any) -> None:
    """Change entries of a JSON file."""
    path = folder / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


def test_what_is_wrong_with_a_folder_is_said(tmp_path: Path) -> None:
    """Another rate, an adapter behind the layers, remote code; and a window that Whisper does not take."""
    saved(tmp_path, "wav2vec2")
    found = load_folder(str(tmp_path))
    manifest = found.manifest([ManifestStage(name, "0" * 64) for name in found.chain.stage_names])
    with pytest.raises(InvalidInput, match="cannot be written as a folder: use --format torch-export or onnx"):
        save_folder(tmp_path / "out", manifest, found.chain, {})
    edited(tmp_path, "preprocessor_config.json", sampling_rate=8000)
    with pytest.raises(InvalidInput, match=r"preprocessor_config\.json has sampling_rate 8000; known is 16000"):
        load_folder(str(tmp_path))
    edited(tmp_path, "config.json", auto_map={"AutoModel": "modeling.Mine"})
    with pytest.raises(InvalidInput, match="has auto_map, which names code of the folder"):
        load_folder(str(tmp_path))
    short = AudioInputSpec(rate=RATE, window=8000, hop=8000)
    config = {key: WHISPER[key] for key in ("d_model", "encoder_layers", "num_mel_bins", "max_source_positions")}
    wrong = Manifest("transformers:whisper", {"config": config}, (), short.to_json(), None, {"kind": "none"}, 32)
    with pytest.raises(InvalidManifest):
        check_manifest(wrong)
