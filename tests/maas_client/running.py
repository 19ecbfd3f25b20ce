"""Commands as the tests run them: in this process, as a person would type them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

Maas = Callable[..., tuple[int, str, str]]
"""Runs a command; returns its exit code, standard output and standard error."""


def read(maas: Maas, *arguments: str) -> Any:
    """Run a command with --json and return what it said; nothing else may be printed."""
    code, out, err = maas(*arguments, "--json")
    assert (code, err) == (0, "")
    return json.loads(out)
