"""What networks of recordings have in common: stages that run over each window, and the mean over a row's windows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from model_store.modalities.batch import MASK, X


class MeanOverWindows(nn.Module):
    """Take the mean of the windows that are no filling, by the mask: [n, windows, d] to the embedding [n, d]."""

    reads = (X, MASK)
    drops = (MASK,)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return the mean; filling counts nothing."""
        kept = mask.unsqueeze(-1)
        total = torch.where(kept, x, torch.zeros_like(x)).sum(dim=1)
        return total / kept.sum(dim=1).clamp(min=1).to(x.dtype)


class _PerWindow(nn.Module):
    """Put before a module's own class: its `forward` gets the windows of all rows as rows."""

    def forward(self, x: Tensor) -> Any:  # noqa: ANN401  as the module's own
        """Return [n, windows, …] for x [n, windows, …]."""
        num_rows, num_windows = x.shape[0], x.shape[1]
        return super().forward(x.flatten(0, 1)).unflatten(0, (num_rows, num_windows))


def per_window(stage: nn.Module) -> nn.Module:
    """Let a stage of rows [n, …] run over rows of windows [n, windows, …]; its tensors keep names and digests.

    It keeps its dtype if a module in it does.

    A module around it would add a prefix to the names of its tensors; so its class changes instead.
    """
    own = type(stage)
    stage.keeps_dtype = any(getattr(each, "keeps_dtype", False) for each in stage.modules())  # type: ignore[assignment]
    stage.__class__ = type(f"PerWindow{own.__name__}", (_PerWindow, own), {})
    return stage
