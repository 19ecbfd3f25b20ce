"""Architectures: a name builds an ordered chain of named stages."""

from model_store.architectures.chain import HEAD, Chain, Head, HeadKind, initialise_head, pooled
from model_store.architectures.registry import (
    architecture_names,
    build,
    build_random,
    build_stage,
    check_stage_tensors,
    embedding_size,
    image_architectures,
    stage_names,
    vector_size,
)

__all__ = [
    "HEAD",
    "Chain",
    "Head",
    "HeadKind",
    "architecture_names",
    "build",
    "build_random",
    "build_stage",
    "check_stage_tensors",
    "embedding_size",
    "image_architectures",
    "initialise_head",
    "pooled",
    "stage_names",
    "vector_size",
]
