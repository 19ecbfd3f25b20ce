"""Random numbers by name: the seed of each use is made of the job's seed and the name of the use."""

from __future__ import annotations

import hashlib

import torch

from model_store.errors import InvalidInput


def check_seed(seed: int, field: str) -> None:
    """Raise InvalidInput for a seed that is no seed."""
    if seed < 0:
        raise InvalidInput.of(field, f"must be at least 0, not {seed}")


def derived_seed(seed: int, *purpose: str | int) -> int:
    """Return a seed from 0 to 2**63 - 1; equal arguments give equal seeds, on every machine."""
    text = ":".join(str(each) for each in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) >> 1


def generator(seed: int, *purpose: str | int) -> torch.Generator:
    """Return a CPU generator for one purpose; it needs no saving, as its start can be named again."""
    return torch.Generator().manual_seed(derived_seed(seed, *purpose))
