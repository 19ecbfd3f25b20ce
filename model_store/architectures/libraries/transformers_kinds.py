"""The encoders of transformers that are served, by `model_type`: their inputs, and how their tokens are pooled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from model_store.architectures import vision
from model_store.architectures.audio import whisper
from model_store.errors import InvalidManifest

NORMALISE = "normalise"
"""The argument of encoders that read samples: whether each window gets mean 0 and variance 1."""
_LEAST_VARIANCE = 1e-7  # as transformers' Wav2Vec2FeatureExtractor has it


class MeanOfTokens(nn.Module):
    """The mean of all tokens: [n, tokens, d] to [n, d]."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean of each row."""
        return x.mean(dim=1)


class FirstToken(nn.Module):
    """The class token: [n, tokens, d] to [n, d]."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the first token of each row."""
        return x[:, 0]


class FirstAndMean(nn.Module):
    """The class token, and the mean of the patches, as DINOv2's classifiers read them: [n, 1 + r + t, d] to [n, 2d].

    The r registers between them are left out.
    """

    def __init__(self, registers: int) -> None:
        super().__init__()
        self.start = 1 + registers

    def forward(self, x: Tensor) -> Tensor:
        """Return both, one behind the other."""
        return torch.cat([x[:, 0], x[:, self.start :].mean(dim=1)], dim=1)


class Samples(nn.Module):
    """Samples of a window as they are, or with mean 0 and variance 1: [n, samples], in float32."""

    keeps_dtype = True

    def __init__(self, *, normalise: bool) -> None:
        super().__init__()
        self.normalise = normalise

    def forward(self, x: Tensor) -> Tensor:
        """Return [n, samples]."""
        if not self.normalise:
            return x
        variance, mean = torch.var_mean(x, dim=-1, correction=0, keepdim=True)
        return (x - mean) / (variance + _LEAST_VARIANCE).sqrt()


@dataclass(frozen=True)
class Sound:
    """How an encoder hears the windows of a recording.

    `window` gives the number of samples, at least and at most; `front_end` makes the encoder's input of samples,
    `heard` is a shape that one may have. `keeps` are the entries of a configuration that describe the encoder.
    """

    window: Callable[[Any], tuple[int, int]]
    heard: Callable[[Any], tuple[int, ...]]
    front_end: Callable[[Any, Mapping[str, Any]], nn.Module]
    keeps: frozenset[str]
    arguments: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Kind:
    """How the tokens of a `model_type` become the embedding that its classifiers read; `width` counts hidden sizes."""

    pool: Callable[[Any], nn.Module]
    width: int = 1
    modality: str = vision.MODALITY
    size: str = "hidden_size"
    """The entry of the configuration with the size of a token."""
    input: str = "pixel_values"
    part: str = ""
    """The name of the encoder in the library's model, where it is not the whole."""
    sound: Sound | None = None

    @property
    def arguments(self) -> frozenset[str]:
        """The arguments beside the configuration."""
        return self.sound.arguments if self.sound is not None else frozenset()


def _log_mel(config: Any, _: Mapping[str, Any]) -> nn.Module:  # noqa: ANN401  transformers carries no types
    return whisper.LogMel(int(config.num_mel_bins))


def _samples(_: Any, arguments: Mapping[str, Any]) -> nn.Module:  # noqa: ANN401  as above
    if type(arguments[NORMALISE]) is not bool:
        raise InvalidManifest(f"the argument {NORMALISE} must be true or false, not {arguments[NORMALISE]!r}")
    return Samples(normalise=arguments[NORMALISE])


def _whole_positions(config: Any) -> tuple[int, int]:  # noqa: ANN401  as above
    """Return the one size of a window that Whisper's own code takes."""
    size = int(config.max_source_positions) * whisper.SAMPLES_A_TOKEN
    return size, size


def _one_token(config: Any) -> tuple[int, int]:  # noqa: ANN401  as above
    """Return the samples that the convolutions make one token of, and ten minutes."""
    size = 1
    for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride), strict=True):
        size = (size - 1) * stride + kernel
    return size, 600 * whisper.RATE


_WHISPER = Sound(
    _whole_positions,
    lambda config: (int(config.num_mel_bins), 2 * int(config.max_source_positions)),
    _log_mel,
    frozenset(
        [
            "d_model",
            "encoder_layers",
            "encoder_attention_heads",
            "encoder_ffn_dim",
            "num_mel_bins",
            "max_source_positions",
            "activation_function",
            "scale_embedding",
            "dropout",
            "attention_dropout",
            "activation_dropout",
        ]
    ),
)
_OF_SAMPLES = Sound(
    _one_token,
    lambda config: (2 * _one_token(config)[0],),
    _samples,
    frozenset(
        [
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "intermediate_size",
            "hidden_act",
            "conv_dim",
            "conv_stride",
            "conv_kernel",
            "conv_bias",
            "num_feat_extract_layers",
            "feat_extract_norm",
            "feat_extract_activation",
            "feat_proj_layer_norm",
            "num_conv_pos_embeddings",
            "num_conv_pos_embedding_groups",
            "conv_pos_batch_norm",
            "do_stable_layer_norm",
            "layer_norm_eps",
            "hidden_dropout",
            "attention_dropout",
            "activation_dropout",
            "feat_proj_dropout",
            "mask_time_prob",
            "mask_feature_prob",
        ]
    ),
    frozenset({NORMALISE}),
)
_HEARS: Mapping[str, Any] = {"modality": whisper.MODALITY, "input": "input_values", "sound": _OF_SAMPLES}

KINDS: Mapping[str, Kind] = {
    "vit": Kind(lambda _: FirstToken()),
    "deit": Kind(lambda _: FirstToken()),
    "vit_msn": Kind(lambda _: FirstToken()),
    "ijepa": Kind(lambda _: MeanOfTokens()),
    "dinov2": Kind(lambda _: FirstAndMean(0), 2),
    "dinov2_with_registers": Kind(lambda config: FirstAndMean(int(config.num_register_tokens)), 2),
    "whisper": Kind(
        lambda _: MeanOfTokens(),
        modality=whisper.MODALITY,
        size="d_model",
        input="input_features",
        part="encoder",
        sound=_WHISPER,
    ),
    "wav2vec2": Kind(lambda _: MeanOfTokens(), **_HEARS),
    "hubert": Kind(lambda _: MeanOfTokens(), **_HEARS),
}
"""The encoders that are deterministic functions of pictures or samples, and end as the library's classifiers begin."""
