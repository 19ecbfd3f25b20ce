"""Between the messages of a search and the service's own words."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.struct_pb2 import ListValue, Value
from maas.training.v1 import training_pb2 as pb

from grpc_runtime.leaf_fields import LeafField, leaf_fields
from model_store.errors import InvalidInput
from model_store.names import job_name
from model_store.records.jobs import Trial
from model_store.texts import quoted
from training_service.api.recipe_convert import read_recipe
from training_service.search.space import DEFAULT_TRIALS, Choices, Range, RecipeSpace, Search

_PLACE = "training_job.search"
_MAX_DIMENSIONS, _MAX_CHOICES = 20, 100
_WHOLE = frozenset({FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64})
_NUMBERS = _WHOLE | {FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT}


def read_search(message: pb.Search) -> Search:
    """Return the search in a message, its ranges unchecked; raise InvalidInput for values of another type."""
    return Search(
        tuple(_read_space(each, f"{_PLACE}.recipes[{number}]") for number, each in enumerate(message.recipes)),
        message.max_trial_count if message.HasField("max_trial_count") else DEFAULT_TRIALS,
        message.time_limit.seconds + message.time_limit.nanos / 1e9 if message.HasField("time_limit") else None,
    )


def search_message(search: Search) -> pb.Search:
    """Return a search, every default filled in."""
    limit = timedelta(seconds=search.limit_seconds) if search.limit_seconds is not None else None
    spaces = [_space_message(each) for each in search.recipes]
    return pb.Search(recipes=spaces, max_trial_count=search.max_trials, time_limit=limit)


def trial_message(trial: Trial) -> pb.Trial:
    """Return the place of a job in its search."""
    return pb.Trial(search=job_name(trial.search_id), number=trial.number, stop_reason=trial.stopped)


def _read_space(message: pb.RecipeSpace, place: str) -> RecipeSpace:
    chosen = read_recipe(message.recipe)
    if chosen.name is None:
        raise InvalidInput.of(f"{place}.recipe", "must name a recipe: in a search the service does not choose it")
    if len(message.dimensions) > _MAX_DIMENSIONS:
        raise InvalidInput.of(
            f"{place}.dimensions", f"must be at most {_MAX_DIMENSIONS}, not {len(message.dimensions)}"
        )
    leaves = leaf_fields(type(getattr(message.recipe, chosen.name)))
    paths = {key: f"recipe.{path}" for key, path in chosen.paths.items()}
    dimensions: dict[str, Range | Choices] = {}
    for number, each in enumerate(message.dimensions):
        field = f"{place}.dimensions[{number}]"
        if each.name not in leaves:
            known = ", ".join(sorted(leaves))
            raise InvalidInput.of(
                f"{field}.name", f"must be a field of {chosen.name}, not {quoted(each.name)}: there are {known}"
            )
        if each.name in dimensions or each.name in chosen.values:
            raise InvalidInput.of(f"{field}.name", f"is {each.name}, which has a value or values already")
        dimensions[each.name] = _read_dimension(each, leaves[each.name], field)
        paths[each.name] = f"dimensions[{number}]"
    return RecipeSpace(chosen.name, chosen.values, dimensions, paths)


def _read_dimension(message: pb.Dimension, leaf: LeafField, field: str) -> Range | Choices:
    kind = leaf.field.cpp_type if leaf.field is not None else None
    match message.WhichOneof("values"):
        case "range":
            if leaf.words or kind not in _NUMBERS:
                raise InvalidInput.of(f"{field}.range", f"must be unset, as {message.name} is no number: set choices")
            found = message.range
            return Range(found.low, found.high, found.is_logarithmic, kind in _WHOLE)
        case "choices":
            if not 1 <= len(message.choices.values) <= _MAX_CHOICES:
                raise InvalidInput.of(f"{field}.choices", f"must have 1 to {_MAX_CHOICES} values")
            values = tuple(_read_value(each, leaf, f"{field}.choices") for each in message.choices.values)
            if len(set(values)) < len(values):
                raise InvalidInput.of(f"{field}.choices", "must have no value twice")
            return Choices(values)
    raise InvalidInput.of(field, "must have a range or choices")


def _read_value(message: Value, leaf: LeafField, field: str) -> Any:  # noqa: ANN401  of any hyperparameter
    kind = leaf.field.cpp_type if leaf.field is not None else None
    found = message.WhichOneof("kind")
    if leaf.words:
        if found != "string_value" or message.string_value not in leaf.words:
            raise InvalidInput.of(field, f"must be words of {', '.join(leaf.words)}")
        return message.string_value
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        if found != "bool_value":
            raise InvalidInput.of(field, "must be true or false")
        return message.bool_value
    number = message.number_value
    is_whole = kind in _WHOLE
    if kind not in _NUMBERS or found != "number_value" or not math.isfinite(number):
        raise InvalidInput.of(field, "must be finite numbers")
    if is_whole and not number.is_integer():
        raise InvalidInput.of(field, f"must be whole numbers, not {number:g}")
    return int(number) if is_whole else number


def _space_message(space: RecipeSpace) -> pb.RecipeSpace:
    message = pb.RecipeSpace()
    settings = getattr(message.recipe, space.name)
    settings.SetInParent()
    leaves = leaf_fields(type(settings))
    for key, value in space.fixed.items():
        leaves[key].write(settings, value)
    message.dimensions.extend(_dimension_message(key, each) for key, each in space.dimensions.items())
    return message


def _dimension_message(key: str, dimension: Range | Choices) -> pb.Dimension:
    if isinstance(dimension, Range):
        found = pb.NumberRange(low=dimension.low, high=dimension.high, is_logarithmic=dimension.is_logarithmic)
        return pb.Dimension(name=key, range=found)
    values = ListValue()
    values.extend(list(dimension.values))
    return pb.Dimension(name=key, choices=values)
