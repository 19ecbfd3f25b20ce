"""Splits on the wire."""

from __future__ import annotations

from collections.abc import Mapping

from maas.training.v1 import training_pb2 as pb

from model_store.errors import InvalidInput
from training_service.datasets.splits import ALL, Split

SPLITS: Mapping[str, pb.Split] = {
    Split.TRAIN: pb.SPLIT_TRAIN,
    Split.VALIDATION: pb.SPLIT_VALIDATION,
    Split.TEST: pb.SPLIT_TEST,
    ALL: pb.SPLIT_ALL,
}
"""Each split, and all of them together, on the wire."""
_NAMES: Mapping[int, str] = {number: name for name, number in SPLITS.items()}


def read_split(split: pb.Split, unset: str = Split.TEST) -> str:
    """Return the split of an enum value; raise InvalidInput for an unknown number."""
    name = {pb.SPLIT_UNSPECIFIED: unset, **_NAMES}.get(split)
    if name is None:
        raise InvalidInput.of("split", f"must be one of {', '.join(pb.Split.keys()[1:])}, not {split}")
    return name
