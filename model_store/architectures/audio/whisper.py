"""The audio encoder of Whisper tiny as a chain: a log-mel front end, two convolutions and four Transformer layers.

Radford et al. 2022, "Robust Speech Recognition via Large-Scale Weak Supervision". Tensors have the names of
transformers' `WhisperEncoder`; the constants of the front end are `log_mel.*`. Windows may be shorter than the 30
seconds of training: positions count from the start of a window.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from model_store.architectures.audio.mel import mel_filters
from model_store.architectures.audio.windows import MeanOverWindows, per_window
from model_store.architectures.chain import HEAD, Chain, nest
from model_store.architectures.head import Head
from model_store.errors import InvalidManifest
from model_store.modalities.spec import InputSpec

NAME = "whisper_tiny_encoder"
RATE, MAX_WINDOW = 16_000, 480_000
WIDTH, HEADS, HIDDEN, LAYERS, POSITIONS, BINS = 384, 6, 1536, 4, 1500, 80
_FFT, _HOP = 400, 160
SAMPLES_A_TOKEN = 2 * _HOP
_LEAST_POWER, _RANGE = 1e-10, 8.0  # the range in powers of ten below the loudest of a window


class LogMel(nn.Module):
    """Turn samples [n, samples] into Whisper's log-mel frames [n, bins, samples / 160]; large models have 128 bins."""

    keeps_dtype = True

    def __init__(self, bins: int = BINS) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(_FFT))
        self.register_buffer("filters", mel_filters(RATE, _FFT, bins, 0, RATE / 2, slaney=True))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logarithm to base 10 of each band's power, cut at 8 below the loudest, plus 4, by 4."""
        with torch.autocast(x.device.type, enabled=False):
            padded = functional.pad(x, (_FFT // 2, _FFT // 2), mode="reflect")
            frames = padded.unfold(-1, _FFT, _HOP)[..., :-1, :] * self.get_buffer("window")
            power = torch.fft.rfft(frames).abs().square() @ self.get_buffer("filters")
        levels = power.clamp(min=_LEAST_POWER).log10()
        floor = levels.amax(dim=(-2, -1), keepdim=True) - _RANGE
        return ((torch.maximum(levels, floor) + 4) / 4).transpose(-2, -1)


class Tokens(nn.Module):
    """Turn log-mel frames into tokens, one for two frames, and add their positions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(BINS, WIDTH, kernel_size=3, padding=1)
        self.conv2 = nn.Conv1d(WIDTH, WIDTH, kernel_size=3, stride=2, padding=1)
        self.embed_positions = nn.Embedding(POSITIONS, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """Return [n, tokens, 384] for [n, 80, 2 * tokens]."""
        tokens = functional.gelu(self.conv2(functional.gelu(self.conv1(x)))).transpose(1, 2)
        return tokens + self.embed_positions.weight[: tokens.shape[1]]


class Attention(nn.Module):
    """Self-attention over the tokens of a window; keys have no bias."""

    def __init__(self) -> None:
        super().__init__()
        self.k_proj = nn.Linear(WIDTH, WIDTH, bias=False)
        self.v_proj = nn.Linear(WIDTH, WIDTH)
        self.q_proj = nn.Linear(WIDTH, WIDTH)
        self.out_proj = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """Return [n, tokens, 384]."""
        q, k, v = (
            each(x).unflatten(-1, (HEADS, WIDTH // HEADS)).transpose(1, 2)
            for each in (self.q_proj, self.k_proj, self.v_proj)
        )
        found = functional.scaled_dot_product_attention(q, k, v)
        joined: Tensor = self.out_proj(found.transpose(1, 2).flatten(-2))
        return joined


class Layer(nn.Module):
    """One layer of the encoder, each half behind a normalisation and added to its input."""

    def __init__(self) -> None:
        super().__init__()
        self.self_attn = Attention()
        self.self_attn_layer_norm = nn.LayerNorm(WIDTH)
        self.fc1 = nn.Linear(WIDTH, HIDDEN)
        self.fc2 = nn.Linear(HIDDEN, WIDTH)
        self.final_layer_norm = nn.LayerNorm(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """Return [n, tokens, 384]."""
        x = x + self.self_attn(self.self_attn_layer_norm(x))
        hidden: Tensor = self.fc2(functional.gelu(self.fc1(self.final_layer_norm(x))))
        return x + hidden


class MeanOverTokens(nn.Module):
    """Take the mean of the tokens of a window: [n, tokens, d] to [n, d]."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean."""
        return x.mean(dim=1)


def check_input(_: Mapping[str, Any], spec: InputSpec) -> None:
    """Raise InvalidManifest unless the spec has the network's rate, and windows that it has positions for."""
    found = spec.to_json()
    if found["rate"] != RATE:
        raise InvalidManifest(f"input_spec.rate must be {RATE} for {NAME}, not {found['rate']}")
    window = found["window"]
    if window % SAMPLES_A_TOKEN or not _FFT <= window <= MAX_WINDOW:
        rule = f"a multiple of {SAMPLES_A_TOKEN}, {_FFT} to {MAX_WINDOW}"
        raise InvalidManifest(f"input_spec.window must be {rule} for {NAME}, not {window}")


def build(arguments: Mapping[str, Any], head: Head) -> Chain:
    """Build `log_mel`, `stem`, `layer1` … `layer4`, `norm`, the mean over windows, and the head."""
    if arguments:
        raise InvalidManifest(f"{NAME} has no argument {', '.join(sorted(arguments))}")
    if head.kind == "conv":
        raise InvalidManifest(f"head.kind 'conv' is squeezenet1_1's own; {NAME} takes 'linear' or 'none'")
    layers = [(f"layer{number + 1}", nest([(f"layers.{number}", Layer())])) for number in range(LAYERS)]
    norm = nest([("layer_norm", nn.LayerNorm(WIDTH)), ("mean", MeanOverTokens())])
    stages: list[tuple[str, nn.Module]] = [
        ("log_mel", per_window(nest([("log_mel", LogMel())]))),
        ("stem", per_window(Tokens())),
        *((name, per_window(layer)) for name, layer in layers),
        ("norm", per_window(norm)),
        ("pool", MeanOverWindows()),
    ]
    if head.kind != "none":
        stages.append((HEAD, nest([("classifier", nn.Linear(WIDTH, head.outputs))])))
    return Chain(stages, WIDTH)


MODALITY = "audio"
BUILDERS = {NAME: build}
