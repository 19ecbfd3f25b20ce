"""Sequences and arrays of numbers as examples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from maas.inference.v1.inference_pb2 import Example, Values


def example_of(given: Any) -> Example | None:  # noqa: ANN401  whatever a caller has
    """Return the message for a sequence or an array [numbers]; None for anything else."""
    if isinstance(given, Sequence):
        return Example(values=Values(numbers=map(float, given)))
    return Example(values=Values(numbers=given.tolist())) if len(getattr(given, "shape", ())) == 1 else None
