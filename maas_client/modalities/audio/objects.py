"""Samples in memory as examples."""

from __future__ import annotations

from typing import Any

from maas.inference.v1.inference_pb2 import Example, Samples

_PAIR = 2


def example_of(given: Any) -> Example | None:  # noqa: ANN401  whatever a caller has
    """Return the message for a pair of rate (hertz) and samples, float32 [n] of -1 to 1; None for anything else."""
    if not isinstance(given, tuple) or len(given) != _PAIR:
        return None
    rate, samples = given
    is_samples = len(getattr(samples, "shape", ())) == 1 and str(getattr(samples, "dtype", "")) == "float32"
    if type(rate) is not int or not is_samples:
        return None
    return Example(samples=Samples(sample_rate_hertz=rate, data=samples.tobytes()))
