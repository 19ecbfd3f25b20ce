"""Owners of claims: a dead one is known as dead, and nobody else is taken for it."""

from __future__ import annotations

import os
import subprocess
import sys

from training_service.jobs.owners import is_gone, new_owner

PRINT_OWNER = "from training_service.jobs.owners import new_owner; print(new_owner(), flush=True)"


def test_an_owner_that_lives_is_not_gone() -> None:
    """Each name is new."""
    owner = new_owner()
    assert not is_gone(owner)
    assert owner != new_owner()
    assert len(owner) <= 200


def test_an_owner_that_was_killed_is_gone() -> None:
    """At once, reaped or not."""
    script = f"{PRINT_OWNER}; import sys; sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        owner = process.stdout.readline().strip()
        assert not is_gone(owner)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert is_gone(owner)
    assert is_gone(owner)


def test_another_process_of_the_same_number_is_another_owner() -> None:
    """Numbers come again."""
    host, machine, process, number = new_owner().split("/")
    pid = process.partition("-")[0]
    assert is_gone("/".join((host, machine, f"{pid}-1", number)))


def test_nothing_is_known_of_another_machine() -> None:
    """Nor of another container, nor of names that were made otherwise."""
    host, _machine, process, number = new_owner().split("/")
    assert not is_gone("/".join((host, "elsewhere", process + "0", number)))
    assert not is_gone("/".join((host, "", process + "0", number)))
    assert not is_gone("runner")
