"""Names runners, and detects dead ones: those whose process on this machine has ended.

The start of a process is read in ticks since the machine started. psutil gives a time of day, which moves with the
system's clock: a living runner would look dead after a correction.
"""

from __future__ import annotations

import os
import socket
import uuid
from pathlib import Path

_PROC = Path("/proc")
_START_TIME = 19  # of the fields behind the name in /proc/PID/stat: field 22, in ticks since the machine started


def new_owner() -> str:
    """Name a claim's owner: never twice, so that no earlier worker can pass for a later one."""
    pid = os.getpid()
    return "/".join((socket.gethostname()[:60], _machine(), f"{pid}-{_started(pid)}", uuid.uuid4().hex))


def is_gone(owner: str) -> bool:
    """Say whether a runner is known to be dead; of another machine's, or another container's, nothing is known."""
    parts = owner.split("/")
    if len(parts) != 4 or not parts[1] or parts[1] != _machine():
        return False
    pid, _, started = parts[2].partition("-")
    return pid.isdigit() and _started(int(pid)) != started


def _machine() -> str:
    """Return an id of this machine since its start, and of the visible processes; empty without /proc."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}-{(_PROC / 'self/ns/pid').stat().st_ino}"
    except OSError:
        return ""


def _started(pid: int) -> str:
    """Return the start time of a process; empty for a process that does not exist, or is dead and not yet reaped."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in {"Z", "X"} else fields[_START_TIME]
