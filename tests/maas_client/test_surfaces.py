"""One surface in three forms: the client, the client for asyncio, and the command."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

import maas_client
from maas_client import AsyncClient, Client
from maas_client.__main__ import app

PLUMBING = {"cancellable", "resumed", "retries"}
"""What the calls themselves are made with."""
ROOT = Path(maas_client.__file__).parent
FRONT = [*ROOT.glob("commands/**/*.py"), *ROOT.glob("views/*.py"), *ROOT.glob("demo/*.py"), ROOT / "next_steps.py"]
WITHOUT_A_CLIENT = {
    "up": "starts the services",
    "health": "asks any server of gRPC for its health",
    "demo": "starts services of its own",
    "photos": "writes files",
    "bases": "lists what is installed",
    "schema": "prints what the client itself knows",
    "store fsck": "opens the store itself",
    "store du": "opens the store itself",
    "store migrate": "opens the store itself",
    "store gc": "opens the store itself",
    "store prune": "opens the store itself",
}
"""Commands whose work is not a service's, and why."""


def methods(kind: type) -> dict[str, Any]:
    """Return the public methods of a client."""
    found = inspect.getmembers(kind, inspect.isfunction)
    return {name: each for name, each in found if not name.startswith("_") and name not in PLUMBING}


def test_both_clients_have_the_same_methods() -> None:
    """None is forgotten in either."""
    assert methods(AsyncClient).keys() == methods(Client).keys()


@pytest.mark.parametrize("name", methods(Client))
def test_both_clients_take_the_same_arguments(name: str) -> None:
    """By the same names and with the same defaults; one is awaited, or iterated by `async for`."""
    of_client, of_async = methods(Client)[name], methods(AsyncClient)[name]
    parameters = [list(inspect.signature(each).parameters.values())[1:] for each in (of_client, of_async)]
    assert parameters[0] == parameters[1]
    is_iterator = str(inspect.signature(of_client).return_annotation).startswith("Iterator[")
    assert inspect.isasyncgenfunction(of_async) == is_iterator
    assert inspect.iscoroutinefunction(of_async) != is_iterator
    assert of_async.__doc__


@pytest.mark.parametrize("path", FRONT, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_command_talks_to_stubs(path: Path) -> None:
    """All that it does, a program can do with the client."""
    used = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
    assert not used & {"stubs", "registry", "training", "inference"}
    assert "_pb2_grpc" not in path.read_text()


def commands(group: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Yield each command that does something: the words that call it, and its function."""
    if group.callback is not None and (not hasattr(group, "commands") or group.invoke_without_command) and words:
        yield " ".join(words), inspect.unwrap(group.callback)
    for name, each in getattr(group, "commands", {}).items():
        yield from commands(each, (*words, name))


COMMANDS = dict(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("words", COMMANDS)
def test_the_work_of_a_command_is_a_method(words: str) -> None:
    """Each opens a client and calls a method of it, but those that are no work of a service."""
    source = ast.parse(inspect.getsource(COMMANDS[words]))
    called = {
        node.func.attr
        for node in ast.walk(source)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "client"
    }
    passed = {
        node.attr
        for node in ast.walk(source)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "client"
    }
    is_helped = any(isinstance(node, ast.Name) and node.id in {"upload", "follow"} for node in ast.walk(source))
    assert bool((called | passed) & methods(Client).keys() or is_helped) == (words not in WITHOUT_A_CLIENT)
