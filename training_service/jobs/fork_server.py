"""Forks processes that have imported PyTorch already: `python -m training_service.jobs.fork_server FD MODULE...`.

A process that imports what a job needs takes seconds of a core before its first step; a fork of one that has imported
it takes milliseconds, and shares its memory. multiprocessing's own fork server is not used: it takes neither the
environment of the C library nor the interpreter's flags of a service, and its starts block.

An order comes on the socket FD: its length, with the descriptors that the new process takes, and JSON. The socket that
is the first of them is told the pid, and then the exit code. The end of the socket FD means that the service is dead.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

NUMBER_BYTES = 8
"""Of each number: a length; a pid, or a negative errno where no process could be started; an exit code."""


def main() -> None:
    """Import the modules, and fork at each order until the service is gone."""
    control = socket.socket(fileno=int(sys.argv[1]))
    for name in (signal.SIGINT, signal.SIGTERM):  # they reach the service too, and that decides
        signal.signal(name, signal.SIG_IGN)
    for module in sys.argv[2:]:
        importlib.import_module(module)
    gc.freeze()  # what a collection touches would be copied in each process
    _serve(control)


def number_bytes(number: int) -> bytes:
    """Return a number as both sides write it."""
    return number.to_bytes(NUMBER_BYTES, signed=True)


def number_of(content: bytes) -> int:
    """Read what `number_bytes` returns."""
    return int.from_bytes(content, signed=True)


def _serve(control: socket.socket) -> None:
    listeners: dict[int, socket.socket] = {}
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    while True:
        ready, _, _ = select.select([control.fileno(), woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            _tell_ended(listeners)
        if control.fileno() in ready:
            length, descriptors, _, _ = socket.recv_fds(control, NUMBER_BYTES, 3)
            if not length:
                return
            order = json.loads(control.recv(number_of(length), socket.MSG_WAITALL))
            own = [control.fileno(), woken, wake, *(each.fileno() for each in listeners.values())]
            listener = socket.socket(fileno=descriptors[0])
            try:
                pid = os.fork()
            except OSError as error:
                pid = -(error.errno or 1)
            if pid == 0:
                for each in [*own, descriptors[0]]:
                    os.close(each)
                _become(order, descriptors[1:])
            for each in descriptors[1:]:
                os.close(each)
            _tell(listener, pid)
            if pid > 0:
                listeners[pid] = listener
            else:
                listener.close()


def _tell_ended(listeners: dict[int, socket.socket]) -> None:
    """Reap every process that has ended, and tell who started it."""
    while listeners:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        with listeners.pop(pid) as listener:
            _tell(listener, os.waitstatus_to_exitcode(status))


def _tell(listener: socket.socket, number: int) -> None:
    with contextlib.suppress(ConnectionError):  # who started it is not interested any more
        listener.sendall(number_bytes(number))


def _become(order: Mapping[str, object], descriptors: Sequence[int]) -> NoReturn:
    """Run a module's `main` in this fork: standard input, then standard output, are the descriptors."""
    module, changed = order["module"], order["environment"]
    if not isinstance(module, str) or not isinstance(changed, dict):
        raise TypeError("an order names a module, and what is changed of the environment")
    signal.set_wakeup_fd(-1)
    for each in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(each, signal.SIG_DFL)
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115
    for name, value in changed.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    with contextlib.suppress(OSError):  # a name for `ps` and `top`; only Linux has it
        Path("/proc/self/comm").write_text(process_name(module))
    code: object = 1
    try:
        importlib.import_module(module).main()
        code = 0
    except SystemExit as end:
        code = end.code
    except BaseException:  # noqa: BLE001  the outermost frame of a process
        traceback.print_exc()
    sys.stdout.flush()
    os._exit(code if isinstance(code, int) else 1)


def process_name(module: str) -> str:
    """Return the name of a process that runs a module, as the kernel keeps it: its last 15 characters."""
    return f"maas {module.rpartition('.')[2]}"[:15]


if __name__ == "__main__":
    main()
