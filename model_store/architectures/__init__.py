"""Architectures: a name builds an ordered chain of named stages."""

from model_store.architectures.chain import (
    HEAD,
    Chain,
    Head,
    HeadKind,
    drops,
    initialise_head,
    reads,
    run_stage,
    writes,
)
from model_store.architectures.registry import (
    architecture_names,
    build,
    build_random,
    build_stage,
    check_input,
    check_stage_tensors,
    embedding_size,
    stage_names,
)
from model_store.architectures.vision import torchvision_architectures

__all__ = [
    "HEAD",
    "Chain",
    "Head",
    "HeadKind",
    "architecture_names",
    "build",
    "build_random",
    "build_stage",
    "check_input",
    "check_stage_tensors",
    "drops",
    "embedding_size",
    "initialise_head",
    "reads",
    "run_stage",
    "stage_names",
    "torchvision_architectures",
    "writes",
]
