"""Google's speech_embedding as a chain: a small convolutional network that was trained on spoken words.

Lin et al. 2020, "Training Keyword Spotters with Limited and Synthesized Speech Data". The mel front end is a stage, so
that samples enter. Tensors have the names of a plain PyTorch network: `mel.*`, `convolutions.0.weight`, ….
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from model_store.architectures.audio.mel import mel_filters
from model_store.architectures.audio.windows import MeanOverWindows, per_window
from model_store.architectures.chain import HEAD, Chain, Step, nest
from model_store.architectures.head import Head
from model_store.errors import InvalidManifest
from model_store.modalities.spec import InputSpec

RATE, WINDOW = 16_000, 12_512
"""Hertz, and the samples in a window: 76 frames of the front end."""
EMBEDDING_SIZE = 96
_FFT, _HOP, _BINS = 512, 160, 32
_BAND = (60.0, 3800.0)  # hertz
_LEAST_POWER, _DYNAMIC_RANGE = 1e-10, 80.0  # of the front end, which is in decibels
_SLOPE, _LEAST = 0.2, -0.4  # of the activation

_Shape = tuple[int, int, tuple[int, int]]
_Stage = tuple[list[_Shape], tuple[int, int] | None]


def _across(inputs: int, outputs: int) -> _Shape:
    return inputs, outputs, (1, 3)


def _along(size: int) -> _Shape:
    return size, size, (3, 1)


_STAGES: Mapping[str, _Stage] = {
    "stem": ([(1, 24, (3, 3)), _across(24, 24), _along(24)], (2, 2)),
    "layer1": ([_across(24, 48), _along(48), _across(48, 48), _along(48)], (1, 2)),
    "layer2": ([_across(48, 72), _along(72), _across(72, 72), _along(72)], (2, 2)),
    "layer3": ([_across(72, 96), _along(96), _across(96, 96), _along(96)], (1, 2)),
    "layer4": ([_across(96, 96), _along(96), _across(96, 96), _along(96)], (2, 2)),
}
"""The convolutions of each stage (channels in and out, kernel in time and frequency), and the pooling behind them."""


class MelSpectrogram(nn.Module):
    """Turn samples [n, samples] into frames of 32 mel bands in decibels [n, 1, frames, 32], each divided by 10, plus 2.

    Decibels are cut at 80 below the loudest of a window. The window and the filters are constants of the published
    network: they are kept with its weights, and never trained.
    """

    keeps_dtype = True

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(_FFT))
        self.register_buffer("filters", mel_filters(RATE, _FFT, _BINS, *_BAND))

    def forward(self, x: Tensor) -> Tensor:
        """Return [n, 1, frames, 32]."""
        with torch.autocast(x.device.type, enabled=False):
            frames = x.unfold(-1, _FFT, _HOP) * self.get_buffer("window")
            power = torch.fft.rfft(frames).abs().square() @ self.get_buffer("filters")
        decibels = 10 * power.clamp(min=_LEAST_POWER).log10()
        floor = decibels.amax(dim=(-2, -1), keepdim=True) - _DYNAMIC_RANGE
        return (torch.maximum(decibels, floor) / 10 + 2).unsqueeze(-3)


class Convolution(nn.Conv2d):
    """A convolution, a leaky ReLU, and a lower bound of its output; at random its numbers keep their size."""

    def reset_parameters(self) -> None:
        """Draw weights for a leaky ReLU (He et al. 2015), and no bias."""
        nn.init.kaiming_uniform_(self.weight, a=_SLOPE)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return at least -0.4."""
        return functional.leaky_relu(super().forward(x), _SLOPE).clamp(min=_LEAST)


def check_input(_: Mapping[str, Any], spec: InputSpec) -> None:
    """Raise InvalidManifest unless the spec has the network's rate and window."""
    found = spec.to_json()
    for name, wanted in (("rate", RATE), ("window", WINDOW)):
        if found[name] != wanted:
            raise InvalidManifest(f"input_spec.{name} must be {wanted} for speech_embedding, not {found[name]}")


def build(arguments: Mapping[str, Any], head: Head) -> Chain:
    """Build `mel`, `stem`, `layer1` … `layer4`, `embedding`, the mean over windows, and the head."""
    if arguments:
        raise InvalidManifest(f"speech_embedding has no argument {', '.join(sorted(arguments))}")
    if head.kind == "conv":
        raise InvalidManifest("head.kind 'conv' is squeezenet1_1's own; speech_embedding takes 'linear' or 'none'")
    stages: list[tuple[str, nn.Module]] = [("mel", per_window(nest([("mel", MelSpectrogram())])))]
    number = 0
    for name, (shapes, pooling) in _STAGES.items():
        steps: list[Step] = []
        for inputs, outputs, kernel in shapes:
            padding = (0, kernel[1] // 2)  # in frequency alone
            steps.append((f"convolutions.{number}", Convolution(inputs, outputs, kernel, padding=padding)))
            number += 1
        if pooling is not None:
            steps.append(("pool", nn.MaxPool2d(pooling, pooling)))
        stages.append((name, per_window(nest(steps))))
    last = nn.Conv2d(EMBEDDING_SIZE, EMBEDDING_SIZE, (3, 1), bias=False)
    stages += [
        ("embedding", per_window(nest([(f"convolutions.{number}", last), ("flatten", nn.Flatten(1))]))),
        ("pool", MeanOverWindows()),
    ]
    if head.kind != "none":
        stages.append((HEAD, nest([("classifier", nn.Linear(EMBEDDING_SIZE, head.outputs))])))
    return Chain(stages, EMBEDDING_SIZE)


MODALITY = "audio"
BUILDERS = {"speech_embedding": build}
