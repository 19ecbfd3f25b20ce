"""Failures of a command, which it ends with: one line that says what went wrong, one that says what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from maas_client.errors import MaasError
from maas_client.exit_codes import ExitCode


class CommandFailed(MaasError):
    """A command cannot go on; the text says why and what to do."""


class WrongUsage(CommandFailed):
    """A command was given options or arguments that are wrong, or exclude each other."""

    exit_code = ExitCode.USAGE


@contextmanager
def store_errors_explained() -> Iterator[None]:
    """Turn what the store raises on purpose into a failure of the command; its errors say what to do, and where."""
    from model_store.errors import InvalidInput, InvalidManifest, StoreError

    try:
        yield
    except (InvalidInput, InvalidManifest) as error:
        raise WrongUsage(error.in_full) from error
    except StoreError as error:
        raise CommandFailed(error.in_full) from error
