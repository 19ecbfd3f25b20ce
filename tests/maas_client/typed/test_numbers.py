"""A number that no field holds is refused in one line, by every option of every command."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import typer

from maas_client.__main__ import app
from maas_client.errors import InvalidArgument
from maas_client.typed.numbers import INT64_MAX
from maas_client.typed.recipes import recipe_of
from tests.maas_client.running import Maas

NO_NUMBERS = ("nan", "inf", "-inf")
TOO_LARGE = (str(2**64 - 1), str(-(2**64)))


def numeric_options(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str, type]]:
    """Yield every option below a command that takes a number: the words that call its command, itself, and its kind."""
    for parameter in command.params:
        kind = parameter.type_descriptor.annotation if parameter.param_type_name == "option" else None
        if kind in {int, float}:
            yield words, parameter.opts[0], kind
    for name, each in getattr(command, "commands", {}).items():
        yield from numeric_options(each, (*words, name))


OPTIONS = list(numeric_options(typer.main.get_command(app)))


@pytest.mark.parametrize(("words", "option", "kind"), OPTIONS)
def test_every_option_refuses_what_is_no_number(maas: Maas, words: tuple[str, ...], option: str, kind: type) -> None:
    """Not a number, infinities, and what is beyond 64 bits; no service is asked."""
    for text in NO_NUMBERS if kind is float else (*NO_NUMBERS, *TOO_LARGE):
        code, _, err = maas(*words, f"{option}={text}")
        assert code == 2, (text, err)
        assert f"Invalid value for '{option}'" in err
        assert "Traceback" not in err


def test_there_are_such_options() -> None:
    """Or the test above would hold of none."""
    assert len(OPTIONS) > 20


@pytest.mark.parametrize("value", [2**31, -(2**31)])
def test_a_keyword_beyond_its_field_is_refused(value: int) -> None:
    """Naming the field; a message would raise an error of its own."""
    with pytest.raises(InvalidArgument, match=r"^epoch_count must be "):
        recipe_of("full", {"epoch_count": value})


@pytest.mark.parametrize("seed", ["-1", str(INT64_MAX + 1), str(2**64 - 1)])
def test_a_seed_is_refused_before_anything_is_uploaded(maas: Maas, seed: str) -> None:
    """Without a traceback, and without a service."""
    for option in ("--seed", "--split-seed"):
        code, _, err = maas("finetune", ".", option, seed)
        assert code == 2
        assert f"Invalid value for '{option}'" in err
        assert "Traceback" not in err
