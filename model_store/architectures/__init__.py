"""Architectures: a name builds an ordered chain of named stages."""

from model_store.architectures.chain import (
    HEAD,
    Chain,
    categorical_columns,
    check_values,
    drops,
    initialise_head,
    keeps_dtype,
    reads,
    run_stage,
    writes,
)
from model_store.architectures.head import FITTED_KINDS, Head, HeadKind
from model_store.architectures.registry import (
    architecture_names,
    borrowed_stages,
    build,
    build_random,
    build_stage,
    check_input,
    check_stage_tensors,
    embedding_size,
    stage_names,
    with_fitted_head,
)
from model_store.architectures.vision import torchvision_architectures

__all__ = [
    "FITTED_KINDS",
    "HEAD",
    "Chain",
    "Head",
    "HeadKind",
    "architecture_names",
    "borrowed_stages",
    "build",
    "build_random",
    "build_stage",
    "categorical_columns",
    "check_input",
    "check_stage_tensors",
    "check_values",
    "drops",
    "embedding_size",
    "initialise_head",
    "keeps_dtype",
    "reads",
    "run_stage",
    "stage_names",
    "torchvision_architectures",
    "with_fitted_head",
    "writes",
]
