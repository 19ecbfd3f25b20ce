"""Distances of embeddings to stored rows."""

from __future__ import annotations

from torch import Tensor


def squared_distances(x: Tensor, rows: Tensor) -> Tensor:
    """Return the squared Euclidean distances [n, m] of x [n, d] to rows [m, d], in their own dtype."""
    products = x.square().sum(dim=1, keepdim=True) - 2 * (x @ rows.T) + rows.square().sum(dim=1)
    return products.clamp_(min=0)
