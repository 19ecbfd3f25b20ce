"""Splits are typed by their names, and sent by their numbers."""

from __future__ import annotations

import pytest
from maas.training.v1 import training_pb2 as pb

from maas_client.errors import InvalidArgument
from maas_client.typed.splits import split_number


def test_every_split_can_be_typed() -> None:
    """By its name in the API, in small letters."""
    names = [name.removeprefix("SPLIT_").lower() for name in pb.Split.keys()[1:]]
    assert [split_number(name) for name in names] == pb.Split.values()[1:]


def test_another_split_is_refused() -> None:
    """Before the service is asked; the message lists those there are."""
    with pytest.raises(InvalidArgument, match="no split 'tset': there are train, validation, test, all"):
        split_number("tset")
