"""Recipes by their names."""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf.message import Message
from maas.training.v1 import training_pb2

from maas_client.failures import CommandFailed

AUTO = "auto"
"""The recipe that leaves the choice to the service."""
RECIPES: Mapping[str, type[Message]] = {
    field.name: type(getattr(training_pb2.Recipe(), field.name))
    for field in training_pb2.Recipe.DESCRIPTOR.oneofs_by_name["recipe"].fields
}
"""The message of each recipe's hyperparameters."""


def named_recipe(name: str) -> training_pb2.Recipe:
    """Return the recipe of this name with nothing chosen; raise CommandFailed where there is none."""
    if name not in RECIPES:
        names = ", ".join(each for each in RECIPES if each != AUTO)
        raise CommandFailed(f"there is no recipe {name!r}: there are {names}")
    recipe = training_pb2.Recipe()
    getattr(recipe, name).SetInParent()
    return recipe
