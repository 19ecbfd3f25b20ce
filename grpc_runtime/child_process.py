"""The command that starts a maas module in a new interpreter."""

from __future__ import annotations

import sys


def command_of(module: str) -> tuple[str, ...]:
    """Return the command that runs a module.

    `-P` keeps the current folder off the import path: with `-m` alone, a user's `secrets.py` or `numpy.py` in the
    folder where a command was typed would be imported in place of the library of that name.
    """
    return (sys.executable, "-P", "-m", module)
