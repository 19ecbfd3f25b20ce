"""A small recurrent network for recordings, to train from scratch: log-mel frames, an LSTM in both directions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from model_store.architectures.audio.mel import mel_filters
from model_store.architectures.audio.windows import MeanOverWindows, per_window
from model_store.architectures.chain import HEAD, Chain, nest
from model_store.architectures.head import Head
from model_store.errors import InvalidManifest
from model_store.modalities.spec import InputSpec

NAME = "audio_lstm"
RATE = 16_000
_WIDTH, _DEFAULT_WIDTH, _MAX_WIDTH = "width", 64, 1024
_FFT, _HOP, _BINS = 512, 160, 40
_LEAST_POWER = 1e-8
MIN_WINDOW = _FFT


class LogMelFrames(nn.Module):
    """Turn samples [n, samples] into log-mel frames [n, frames, 40], each band less its mean over a window."""

    keeps_dtype = True

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(_FFT))
        self.register_buffer("filters", mel_filters(RATE, _FFT, _BINS, 60, 7600))

    def forward(self, x: Tensor) -> Tensor:
        """Return [n, frames, 40]: without the mean, the loudness and colour of a microphone count little."""
        with torch.autocast(x.device.type, enabled=False):
            frames = x.unfold(-1, _FFT, _HOP) * self.get_buffer("window")
            power = torch.fft.rfft(frames).abs().square() @ self.get_buffer("filters")
            levels = power.clamp(min=_LEAST_POWER).log()
        centred: Tensor = levels - levels.mean(dim=-2, keepdim=True)
        return centred / 4


class MeanOfStates(nn.Module):
    """An LSTM in both directions; the mean of its states over time."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(_BINS, width, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return [n, 2 * width] for [n, frames, 40]."""
        states: Tensor = self.lstm(x)[0]
        return states.mean(dim=1)


def check_input(_: Mapping[str, Any], spec: InputSpec) -> None:
    """Raise InvalidManifest unless the spec has the front end's rate, and windows of a frame at least."""
    found = spec.to_json()
    if found["rate"] != RATE:
        raise InvalidManifest(f"input_spec.rate must be {RATE} for {NAME}, not {found['rate']}")
    if found["window"] < MIN_WINDOW:
        raise InvalidManifest(f"input_spec.window must be at least {MIN_WINDOW} for {NAME}, not {found['window']}")


def build(arguments: Mapping[str, Any], head: Head) -> Chain:
    """Build `log_mel`, `lstm`, the mean over windows, and the head; `{"width": 64}` sizes a direction's state."""
    if unknown := set(arguments) - {_WIDTH}:
        raise InvalidManifest(f"architecture {NAME} has no argument {', '.join(sorted(unknown))}")
    width = arguments.get(_WIDTH, _DEFAULT_WIDTH)
    if type(width) is not int or not 1 <= width <= _MAX_WIDTH:
        raise InvalidManifest(f"{NAME}'s argument width must be an integer in 1..{_MAX_WIDTH}, not {width!r}")
    if head.kind == "conv":
        raise InvalidManifest(f"head.kind 'conv' is squeezenet1_1's own; {NAME} takes 'linear' or 'none'")
    stages: list[tuple[str, nn.Module]] = [
        ("log_mel", per_window(nest([("log_mel", LogMelFrames())]))),
        ("lstm", per_window(MeanOfStates(width))),
        ("pool", MeanOverWindows()),
    ]
    if head.kind != "none":
        stages.append((HEAD, nest([("classifier", nn.Linear(2 * width, head.outputs))])))
    return Chain(stages, 2 * width)


MODALITY = "audio"
BUILDERS = {NAME: build}
