"""Processes that work for the service: each reads a pipe, ends with the service, and is killed if it does not end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Sequence

# Without these, glibc returns each large buffer of a step to the kernel and maps the next one anew, page by page: a
# third of the time of MobileNetV2's steps on 2 cores. The operator's own settings win.
_MALLOC = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**34)}


async def start(program: Sequence[str], *, stdout: int | None = None) -> asyncio.subprocess.Process:
    """Start a process with a pipe to its standard input; raise OSError if no process can be started."""
    environment = {**_MALLOC, **os.environ}
    return await asyncio.create_subprocess_exec(*program, stdin=asyncio.subprocess.PIPE, stdout=stdout, env=environment)


async def send(process: asyncio.subprocess.Process, order: bytes) -> None:
    """Write an order and leave the pipe open: the end of the pipe means that the service is dead."""
    if process.stdin is None:
        raise ValueError("the process was started without a pipe")
    if process.stdin.is_closing():  # it is dead already; uvloop would raise one of several errors for a write
        return
    process.stdin.write(order)
    with contextlib.suppress(ConnectionError):  # as above
        await process.stdin.drain()


async def kill(process: asyncio.subprocess.Process) -> None:
    """Kill a process and wait for its end."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    if process.stdin is not None:
        process.stdin.close()
    if process.stdout is not None:  # read to its end, or the pipe would never be closed
        await process.stdout.read()
    await process.wait()


def how_it_ended(code: int) -> str:
    """Say how a process ended, by its exit code."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = " (is there enough memory?)" if name == "SIGKILL" else ""
    return f"was ended by {name}{hint}"


def die_with_the_service(code: int) -> None:
    """End this process at once, in any state, when its standard input ends."""

    def await_end() -> None:
        while sys.stdin.buffer.read(1):
            pass
        os._exit(code)

    threading.Thread(target=await_end, daemon=True).start()
