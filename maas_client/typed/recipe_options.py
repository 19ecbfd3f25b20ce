"""The options of `maas finetune` that make a recipe: one for each of its hyperparameters."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Annotated, Any, get_args

import typer

from maas_client.typed.numbers import INT32_MAX, finite
from maas_client.typed.recipe_fields import Told, recipe_field_types


def with_recipe_options(command: Callable[..., None]) -> Callable[..., None]:
    """Return the command with an option for each field of a recipe, in place of its `**fields`."""

    @wraps(command)
    def run(*arguments: Any, **options: Any) -> None:  # noqa: ANN401  as the command's own
        command(*arguments, **options)

    signature = inspect.signature(command, eval_str=True)
    own = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
    parameters = [*own, *_options()]
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]  # inspect reads it
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run


def _options() -> Iterator[inspect.Parameter]:
    for name, annotation in recipe_field_types().items():
        kind, told = get_args(annotation)
        default = "" if kind is str else None
        yield inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, _option(name, kind, told)]
        )


def _option(name: str, kind: Any, told: Told) -> Any:  # noqa: ANN401  a type; typer's own
    own = f"--{name.replace('_', '-')}"
    names = [told.option, own] if told.option else [own]
    if bool in get_args(kind):
        names = [f"{own}/--no-{own[2:]}"]
    is_integer, is_number = int in get_args(kind), float in get_args(kind)
    return typer.Option(
        *names,
        help=told.help,
        rich_help_panel=told.panel,
        min=0 if is_integer else None,
        max=INT32_MAX if is_integer else None,
        callback=finite if is_number else None,
    )
