"""Splits as people name them: train, validation, test or all."""

from __future__ import annotations

from collections.abc import Mapping

from maas.training.v1 import training_pb2

from maas_client.errors import InvalidArgument

_SPLITS: Mapping[str, training_pb2.Split] = {
    "train": training_pb2.SPLIT_TRAIN,
    "validation": training_pb2.SPLIT_VALIDATION,
    "test": training_pb2.SPLIT_TEST,
    "all": training_pb2.SPLIT_ALL,
}


def split_word(split: training_pb2.Split) -> str:
    """Return a split as people name it."""
    return training_pb2.Split.Name(split).removeprefix("SPLIT_").lower()


def split_number(text: str) -> training_pb2.Split:
    """Return a split's number on the wire; raise InvalidArgument where there is no such split."""
    if text not in _SPLITS:
        raise InvalidArgument(f"there is no split {text!r}: there are {', '.join(_SPLITS)}")
    return _SPLITS[text]
