"""Mel filters: triangles over the frequencies of a Fourier transform, as wide as the ear hears them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_Floats = NDArray[np.float64]
# Slaney's scale: linear up to 1000 Hz, of 200/3 Hz a mel, and logarithmic above it.
_LINEAR_HERTZ, _BREAK_HERTZ, _LOG_STEP = 200 / 3, 1000.0, np.log(6.4) / 27


def mel_filters(rate: int, fft_size: int, num_bins: int, low: float, high: float, *, slaney: bool = False) -> Tensor:
    """Return float32 [fft_size // 2 + 1, num_bins]: power of each frequency to power of each mel band.

    The scale is HTK's, 2595 log10(1 + f / 700), with triangles of height 1; or Slaney's, with triangles of area 1, as
    librosa has them by default (and Whisper does).
    """
    to_mel, to_hertz = (_slaney_mel, _slaney_hertz) if slaney else (_htk_mel, _htk_hertz)
    ends = to_mel(np.array([low, high]))
    edges = to_hertz(np.linspace(ends[0], ends[1], num_bins + 2))
    frequencies = np.linspace(0, rate / 2, fft_size // 2 + 1)[:, None]
    rising = (frequencies - edges[:-2]) / np.diff(edges)[:-1]
    falling = (edges[2:] - frequencies) / np.diff(edges)[1:]
    triangles = np.maximum(0, np.minimum(rising, falling))
    if slaney:
        triangles *= 2 / (edges[2:] - edges[:-2])
    return torch.tensor(triangles, dtype=torch.float32)


def _htk_mel(hertz: _Floats) -> _Floats:
    return np.asarray(2595 * np.log10(1 + hertz / 700))


def _htk_hertz(mel: _Floats) -> _Floats:
    return np.asarray(700 * (10 ** (mel / 2595) - 1))


def _slaney_mel(hertz: _Floats) -> _Floats:
    logarithmic = _BREAK_HERTZ / _LINEAR_HERTZ + np.log(np.maximum(hertz, _BREAK_HERTZ) / _BREAK_HERTZ) / _LOG_STEP
    return np.where(hertz < _BREAK_HERTZ, hertz / _LINEAR_HERTZ, logarithmic)


def _slaney_hertz(mel: _Floats) -> _Floats:
    break_mel = _BREAK_HERTZ / _LINEAR_HERTZ
    logarithmic = _BREAK_HERTZ * np.exp(_LOG_STEP * (np.maximum(mel, break_mel) - break_mel))
    return np.where(mel < break_mel, mel * _LINEAR_HERTZ, logarithmic)
