"""Log-mel pictures into a vision network: a front end, then the network's own stages over each window's picture.

Stages keep the names and tensors of the vision network, and so their digests: the store keeps a stage once that a
version for photos has too. A window becomes a picture of 128 mel bands by as many frames, three times the same, of the
network's size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from model_store.architectures import vision
from model_store.architectures.audio.mel import mel_filters
from model_store.architectures.audio.windows import MeanOverWindows, per_window
from model_store.architectures.chain import HEAD, Chain, nest
from model_store.architectures.head import Head
from model_store.errors import InvalidManifest
from model_store.modalities.spec import InputSpec

NAME = "log_mel_pictures"
RATE = 16_000
_NETWORK, _EDGE = "network", "edge"
DEFAULT_EDGE = 128
_MIN_EDGE, _MAX_EDGE = 32, 512
_FFT, _HOP, _BINS = 1024, 160, 128
_LEAST_POWER, _DYNAMIC_RANGE = 1e-10, 80.0  # decibels below the loudest of a window
MIN_WINDOW = _FFT + _HOP


class LogMelPicture(nn.Module):
    """Turn samples [n, samples] into pictures [n, 3, edge, edge], about -2 to 2 as vision networks have them.

    Time goes to the right, low frequencies are at the top.
    """

    keeps_dtype = True

    def __init__(self, edge: int) -> None:
        super().__init__()
        self.edge = edge
        self.register_buffer("window", torch.hann_window(_FFT))
        self.register_buffer("filters", mel_filters(RATE, _FFT, _BINS, 20, RATE / 2))

    def forward(self, x: Tensor) -> Tensor:
        """Return [n, 3, edge, edge]."""
        with torch.autocast(x.device.type, enabled=False):
            frames = x.unfold(-1, _FFT, _HOP) * self.get_buffer("window")
            power = torch.fft.rfft(frames).abs().square() @ self.get_buffer("filters")
            decibels = 10 * power.clamp(min=_LEAST_POWER).log10()
            loudest = decibels.amax(dim=(-2, -1), keepdim=True)
            levels = (decibels - loudest).clamp(min=-_DYNAMIC_RANGE) / (_DYNAMIC_RANGE / 4) + 2
            picture = levels.transpose(-2, -1).unsqueeze(1)
            sized = functional.interpolate(picture, (self.edge, self.edge), mode="bilinear", antialias=True)
        return sized.expand(-1, 3, -1, -1)


def check_input(_: Mapping[str, Any], spec: InputSpec) -> None:
    """Raise InvalidManifest unless the spec has the front end's rate, and windows of two frames at least."""
    found = spec.to_json()
    if found["rate"] != RATE:
        raise InvalidManifest(f"input_spec.rate must be {RATE} for {NAME}, not {found['rate']}")
    if found["window"] < MIN_WINDOW:
        raise InvalidManifest(f"input_spec.window must be at least {MIN_WINDOW} for {NAME}, not {found['window']}")


def build(arguments: Mapping[str, Any], head: Head) -> Chain:
    """Build `log_mel`, the stages of the vision network, the mean over windows, and the head.

    `{"network": "mobilenet_v2", "edge": 128}`: the name of a vision network, and the edge of the pictures (128).
    """
    network, edge = _checked(arguments)
    if head.kind == "conv":
        raise InvalidManifest(f"head.kind 'conv' is squeezenet1_1's own; {NAME} takes 'linear' or 'none'")
    own = {"image_size": edge} if network == "vit_b_16" else {}
    backbone = vision.BUILDERS[network](own, Head("none"))
    stages: list[tuple[str, nn.Module]] = [("log_mel", per_window(nest([("log_mel", LogMelPicture(edge))])))]
    stages += [(name, per_window(stage)) for name, stage in backbone.backbone]
    stages.append(("windows", MeanOverWindows()))
    size = backbone.embedding_size
    if head.kind != "none":
        stages.append((HEAD, nest([("head", nn.Linear(size, head.outputs))])))
    return Chain(stages, size)


def _checked(arguments: Mapping[str, Any]) -> tuple[str, int]:
    if unknown := set(arguments) - {_NETWORK, _EDGE}:
        raise InvalidManifest(f"architecture {NAME} has no argument {', '.join(sorted(unknown))}")
    network, edge = arguments.get(_NETWORK), arguments.get(_EDGE, DEFAULT_EDGE)
    if not isinstance(network, str) or network not in vision.BUILDERS:
        known = ", ".join(vision.BUILDERS)
        raise InvalidManifest(f"{NAME}'s argument network must be one of {known}, not {network!r}")
    if type(edge) is not int or not _MIN_EDGE <= edge <= _MAX_EDGE or edge % 16:
        rule = f"a multiple of 16 in {_MIN_EDGE}..{_MAX_EDGE}"
        raise InvalidManifest(f"{NAME}'s argument edge must be {rule}, not {edge!r}")
    return network, edge


MODALITY = "audio"
BUILDERS = {NAME: build}
