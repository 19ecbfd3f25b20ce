"""How large examples may be, by modality: what is set, and the modality's own limit for the others."""

from __future__ import annotations

from collections.abc import Mapping

from model_store.modalities import LIMITS, SizeLimits


def read_sizes(text: str) -> dict[str, str]:
    """Read `KIND=SIZE,KIND=SIZE`; raise ValueError for another form."""
    pairs = [each.strip().partition("=") for each in text.split(",") if each.strip()]
    if wrong := [f"{key}{separator}" for key, separator, size in pairs if not size]:
        raise ValueError(f"must have the form image=50000000,values=65536: {wrong[0]!r} has no size")
    return {key: size for key, _, size in pairs}


def check_sizes(sizes: Mapping[str, int]) -> None:
    """Raise ValueError for an unknown modality, and for sizes below 1."""
    for kind, size in sizes.items():
        if kind not in LIMITS:
            raise ValueError(f"must name modalities, {', '.join(LIMITS)}, not {kind!r}")
        if size < 1:
            raise ValueError(f"must be at least 1 for {kind}, not {size}")


def limits_of(example: Mapping[str, int], request: Mapping[str, int]) -> Mapping[str, SizeLimits]:
    """Return the limits of every modality, of which some are set."""
    return {
        kind: SizeLimits(example.get(kind, own.example), request.get(kind, own.request)) for kind, own in LIMITS.items()
    }
