"""Changes the sample rate of a recording by a polyphase filter."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from model_store.modalities.spec import Numbers

_HALF_LENGTH = 10  # of the filter, in samples of the lower rate: as scipy.signal.resample_poly has it by default
_BETA = 5.0


def resampled(samples: Numbers, rate: int, wanted_rate: int) -> Numbers:
    """Return samples [n] at another rate, float32 [ceil(n * wanted_rate / rate)].

    `scipy.signal.resample_poly`: upsampling, a zero-phase low-pass filter (Kaiser window), downsampling.
    """
    if rate == wanted_rate:
        return samples
    from scipy.signal import resample_poly  # noqa: PLC0415  late: its import takes half a second

    divisor = math.gcd(rate, wanted_rate)
    up, down = wanted_rate // divisor, rate // divisor
    return np.asarray(resample_poly(samples, up, down, window=_low_pass(up, down)), np.float32)


def resampled_size(num_samples: int, rate: int, wanted_rate: int) -> int:
    """Return how many samples `resampled` gives."""
    return -(-num_samples * wanted_rate // rate)


@lru_cache(maxsize=16)
def _low_pass(up: int, down: int) -> Numbers:
    """Return the filter that resample_poly would design anew for every recording."""
    from scipy.signal import firwin  # noqa: PLC0415  as above

    most = max(up, down)
    return np.asarray(firwin(2 * _HALF_LENGTH * most + 1, 1 / most, window=("kaiser", _BETA)), np.float32)
