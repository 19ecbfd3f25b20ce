"""Recipes by their names and their hyperparameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from maas.training.v1 import training_pb2

from grpc_runtime.leaf_fields import LeafField, leaf_fields
from maas_client.errors import InvalidArgument

FIT_HEAD = "fit_head"
"""The recipe that a kind of head implies."""
AUTO = "auto"
"""The recipe that leaves the choice to the service."""
RECIPES: Mapping[str, type[Message]] = {
    field.name: type(getattr(training_pb2.Recipe(), field.name))
    for field in training_pb2.Recipe.DESCRIPTOR.oneofs_by_name["recipe"].fields
}
"""The message of each recipe's hyperparameters."""
_MOST = {FieldDescriptor.CPPTYPE_INT32: 2**31 - 1, FieldDescriptor.CPPTYPE_INT64: 2**63 - 1}


def recipe_of(recipe: str | training_pb2.Recipe, fields: Mapping[str, Any]) -> training_pb2.Recipe:
    """Make a recipe of its name and the fields that were given: those that are neither None nor empty.

    Without a name, but with the kind of a `head`, it is `fit_head`. With neither the service chooses the recipe,
    and only the fields that each of its choices has can be set. Raises InvalidArgument where one is no field of this
    recipe, or has no such value.
    """
    given = {key: value for key, value in fields.items() if value not in (None, "")}
    if isinstance(recipe, training_pb2.Recipe):
        if given:
            raise InvalidArgument(f"{min(given)} goes with a recipe by its name, not with a message of one")
        return recipe
    if not recipe and "head" in given:
        recipe = FIT_HEAD
    made = _named(recipe or AUTO)
    message = getattr(made, recipe or AUTO)
    leaves = leaf_fields(type(message))
    for key in given:
        if key not in leaves:
            raise InvalidArgument(_no_field(key, recipe, leaves))
    for key, value in _with_kinds(given, leaves).items():
        leaves[key].write(message, _checked(leaves[key], value))
    return made


def _named(name: str) -> training_pb2.Recipe:
    if name not in RECIPES:
        names = ", ".join(each for each in RECIPES if each != AUTO)
        raise InvalidArgument(f"there is no recipe {name!r}: there are {names}")
    recipe = training_pb2.Recipe()
    getattr(recipe, name).SetInParent()
    return recipe


def _checked(leaf: LeafField, value: Any) -> Any:  # noqa: ANN401  as the field wants it
    if leaf.words and value not in leaf.words:
        raise InvalidArgument(f"{leaf.name} must be one of {', '.join(leaf.words)}, not {value!r}")
    if leaf.field is not None and isinstance(value, int) and abs(value) > _MOST.get(leaf.field.cpp_type, abs(value)):
        most = _MOST[leaf.field.cpp_type]
        raise InvalidArgument(f"{leaf.name} must be {-most} to {most}, not {value}")
    return value


def _with_kinds(given: Mapping[str, Any], leaves: Mapping[str, LeafField]) -> dict[str, Any]:
    """Add the choices that fields imply, as SGD's momentum implies `sgd`; raise InvalidArgument where they differ."""
    kinds: dict[str, Any] = {}
    for key in given:
        if (within := leaves[key].within) is not None:
            kind, word = within
            if (chosen := given.get(kind, kinds.get(kind, word))) != word:
                raise InvalidArgument(f"{key} is a field of {kind} {word}, not of {chosen}")
            kinds[kind] = word
    return kinds | dict(given)


def _no_field(key: str, name: str, leaves: Mapping[str, LeafField]) -> str:
    has = [each for each, message in RECIPES.items() if key in leaf_fields(message)]
    if has and not name:
        return f"{key} is a field of {', '.join(has)}: name one of them with --recipe"
    return f"{f'the recipe {name}' if name else 'a recipe'} has no field {key!r}: it has {', '.join(sorted(leaves))}"
