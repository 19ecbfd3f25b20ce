"""Limits and abilities that all models of a server have in common, for Triton's model configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from model_store.modalities import Limits


@dataclass(frozen=True)
class ServerLimits:
    """The limits that all models of a server, or of one modality, share."""

    max_rows_per_request: int
    by_kind: Mapping[str, Limits]
    has_gpu: bool
    has_response_cache: bool
