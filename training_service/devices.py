"""Which device to compute on."""

from __future__ import annotations

import torch


def chosen_device(wanted: str) -> torch.device:
    """Return the GPU if there is one, unless `cpu` is wanted."""
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")
