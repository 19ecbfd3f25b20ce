"""Limits and abilities that all models of a server have in common, for Triton's model configuration."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ServerLimits:
    """What is the same for all models of a server."""

    max_rows_per_request: int
    max_batch_cost: int
    max_queue_cost: int
    has_gpu: bool
    has_response_cache: bool
