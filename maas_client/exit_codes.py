"""The exit codes of the `maas` command, and what each means: the one table of them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum


class ExitCode(IntEnum):
    """How a command ended."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    REFUSED = 3
    NOT_FOUND = 4
    UNAVAILABLE = 5
    DENIED = 6
    CONFLICT = 7
    NOT_INSTALLED = 8
    INTERRUPTED = 130


MEANINGS: Mapping[ExitCode, str] = {
    ExitCode.DONE: "done",
    ExitCode.FAILED: "failed: a job failed or was cancelled, a check found a fault, an example has no answer",
    ExitCode.USAGE: "wrong usage: an option or argument is wrong; nothing was changed",
    ExitCode.REFUSED: "the version is registered, but it was not promoted",
    ExitCode.NOT_FOUND: "a model, version, alias, dataset or job does not exist",
    ExitCode.UNAVAILABLE: "a service does not answer, is busy or at a limit: try again",
    ExitCode.DENIED: "the caller may not do this",
    ExitCode.CONFLICT: "the state of a resource does not allow it: it exists already, has ended, or has changed",
    ExitCode.NOT_INSTALLED: "packages that the command needs are not installed: see the message",
    ExitCode.INTERRUPTED: "interrupted by Ctrl-C",
}
"""What each exit code means."""
