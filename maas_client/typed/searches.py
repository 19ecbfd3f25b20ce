"""Searches as people write them: a JSON or TOML file with the recipes to try, and the values of what varies."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from google.protobuf.struct_pb2 import ListValue
from maas.training.v1 import training_pb2 as pb

from maas_client.errors import InvalidArgument
from maas_client.typed.known_names import there_are
from maas_client.typed.recipes import AUTO, RECIPES, recipe_of

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(s|m|h)")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours"}
_KEYS = ("recipes", "max_trials", "time_limit")
_RANGE = ("low", "high", "log")


def read_duration(text: str) -> timedelta:
    """Return a time such as `90s`, `10m` or `1.5h`; raise InvalidArgument."""
    found = _DURATION.fullmatch(text.strip())
    if found is None or float(found[1]) > 1e6:
        raise InvalidArgument(f"{text!r} is no time: write a number with s, m or h, such as 10m")
    return timedelta(**{_UNITS[found[2]]: float(found[1])})


def read_search(path: Path) -> pb.Search:
    """Return the search in a JSON or TOML file; raise InvalidArgument for anything else. Raises OSError.

    It has the object `recipes`: for each recipe an object with a value for a hyperparameter, a list of values to try,
    or a range `{"low": 1e-5, "high": 1e-3, "log": true}`; and `max_trials` and `time_limit`, if you like.
    """
    text = path.read_text(encoding="utf-8-sig")
    kind, read = ("TOML", tomllib.loads) if path.suffix.lower() == ".toml" else ("JSON", json.loads)
    try:
        values = read(text)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"{path} is no {kind}: {error}") from error
    try:
        return search_of(values)
    except InvalidArgument as error:
        raise InvalidArgument(f"{path}: {error}") from error


def search_asked(path: Path | None, max_trials: int | None, time_limit: str) -> pb.Search | None:
    """Return the search that the options of a command ask for, None without a file; raise InvalidArgument."""
    if path is None:
        if max_trials is not None or time_limit:
            raise InvalidArgument("--max-trials and --time-limit are about a search: name its file with --search")
        return None
    search = read_search(path)
    if max_trials is not None:
        search.max_trial_count = max_trials
    if time_limit:
        search.time_limit.FromTimedelta(read_duration(time_limit))
    return search


def search_of(values: Mapping[str, Any]) -> pb.Search:
    """Return the message for a search in plain values, as `read_search` describes them; raise InvalidArgument."""
    _check_keys(values, _KEYS, "a search")
    recipes = values.get("recipes", {})
    if not isinstance(recipes, Mapping):
        raise InvalidArgument("recipes must be an object with a recipe's name for each of its own")
    search = pb.Search(recipes=[_space(name, fields) for name, fields in recipes.items()])
    if "max_trials" in values:
        search.max_trial_count = _whole(values["max_trials"])
    if "time_limit" in values:
        search.time_limit.FromTimedelta(read_duration(str(values["time_limit"])))
    return search


def _space(name: str, fields: object) -> pb.RecipeSpace:
    if name == AUTO or name not in RECIPES:
        raise InvalidArgument(f"there is no recipe {name!r}: {there_are(name, set(RECIPES) - {AUTO})}")
    if not isinstance(fields, Mapping):
        raise InvalidArgument(f"{name} must be an object with a value or values for each hyperparameter")
    fixed = {key: value for key, value in fields.items() if not isinstance(value, list | Mapping)}
    return pb.RecipeSpace(recipe=recipe_of(name, fixed), dimensions=_dimensions(fields))


def _dimensions(fields: Mapping[str, Any]) -> Iterator[pb.Dimension]:
    for key, value in fields.items():
        if isinstance(value, Mapping):
            _check_keys(value, _RANGE, f"the range of {key}")
            try:
                low, high = float(value["low"]), float(value["high"])
            except (KeyError, TypeError, ValueError) as error:
                raise InvalidArgument(f"the range of {key} must have two numbers, low and high") from error
            found = pb.NumberRange(low=low, high=high, is_logarithmic=bool(value.get("log", False)))
            yield pb.Dimension(name=key, range=found)
        elif isinstance(value, list):
            choices = ListValue()
            try:
                choices.extend(value)
            except ValueError as error:
                raise InvalidArgument(f"values of {key} must be numbers, words, true or false") from error
            yield pb.Dimension(name=key, choices=choices)


def _check_keys(values: object, known: tuple[str, ...], what: str) -> None:
    if not isinstance(values, Mapping):
        raise InvalidArgument(f"{what} must be an object with {', '.join(known)}")
    for key in values:
        if key not in known:
            raise InvalidArgument(f"{what} has no {key!r}: {there_are(str(key), known)}")


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 2**31:
        raise InvalidArgument(f"max_trials must be a whole number, not {value!r}")
    return value
