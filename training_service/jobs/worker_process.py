"""Processes that work for the service: each reads a socket, ends with the service, and is killed if it does not end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence

from grpc_runtime.child_process import command_of
from training_service.jobs.fork_server import NUMBER_BYTES, number_bytes, number_of

JOB_WORKER, BACKGROUND_WORKER = "training_service.jobs.worker", "training_service.background_worker"
SEARCH_WORKER = "training_service.search_worker"
# Without these, glibc returns each large buffer of a step to the kernel and maps the next one anew, page by page: a
# third of the time of MobileNetV2's steps on 2 cores. The operator's own settings win.
_MALLOC = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**34)}
# A fit by L-BFGS is thousands of products of short vectors. OpenBLAS shares each among threads that wait spinning: on 2
# cores fits of 90 to 20,000 rows took two to four times as long as with one. PyTorch's threads are its own.
_BLAS = {"OPENBLAS_NUM_THREADS": "1"}


_Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class WorkerProcess:
    """A process that a fork server has started; `answers` is empty where its standard output is the service's."""

    def __init__(self, pid: int, channel: _Stream, told: _Stream) -> None:
        """Take the stream to its standard input, and that on which the fork server tells its exit code."""
        self.pid = pid
        self.answers, self._orders = channel
        self.returncode: int | None = None
        self._ended = asyncio.create_task(self._await_end(told))

    async def send(self, order: bytes) -> None:
        """Write an order and leave the socket open: its end means that the service is dead."""
        with contextlib.suppress(ConnectionError):  # it is dead already
            self._orders.write(order)
            await self._orders.drain()

    async def wait(self) -> int:
        """Wait for its end, and return its exit code; that of a signal is negative."""
        return await asyncio.shield(self._ended)

    def terminate(self) -> None:
        """Ask it to end."""
        self._signal(signal.SIGTERM)

    async def kill(self) -> None:
        """Kill it and wait for its end."""
        self._signal(signal.SIGKILL)
        self._orders.close()
        await self.wait()

    def _signal(self, number: signal.Signals) -> None:
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def _await_end(self, told: _Stream) -> int:
        exit_code, writer = told
        try:
            self.returncode = await _number(exit_code)
        except asyncio.IncompleteReadError:  # the fork server is dead, and nobody would hear of the end of this one
            self._signal(signal.SIGKILL)
            self.returncode = -signal.SIGKILL
        finally:
            writer.close()
        return self.returncode


class ForkServer:
    """The process that forks, started at the first order and again where it has died; safe to use from any thread."""

    def __init__(self, modules: Sequence[str]) -> None:
        """Take the modules that it imports before it forks."""
        self._modules = modules
        self._lock = threading.Lock()
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._environment: Mapping[str, str] = {}

    async def start(self, module: str, *, has_answers: bool = False) -> WorkerProcess:
        """Run a module's `main` in a new process, with a socket to its standard input.

        With `has_answers` its standard output is the same socket. Raises OSError if no process can be started.
        """
        told, its_told = socket.socketpair()
        channel, its_channel = socket.socketpair()
        with its_told, its_channel:
            try:
                self._order(module, [its_told, its_channel, *([its_channel] if has_answers else [])])
            except OSError:
                told.close()
                channel.close()
                raise
        streams = await _stream(told), await _stream(channel)
        try:
            return WorkerProcess(await _pid(streams[0][0]), streams[1], streams[0])
        except BaseException:
            for _, writer in streams:
                writer.close()
            raise

    def _order(self, module: str, taken: Sequence[socket.socket]) -> None:
        descriptors = [each.fileno() for each in taken]
        with self._lock:
            try:
                self._send(module, descriptors)
            except ConnectionError:  # it has died since the last order
                self._end()
                self._send(module, descriptors)

    def _send(self, module: str, descriptors: Sequence[int]) -> None:
        control = self._running()
        names = self._environment.keys() | os.environ.keys()
        changed = {each: os.environ.get(each) for each in names if os.environ.get(each) != self._environment.get(each)}
        order = json.dumps({"module": module, "environment": changed}).encode()
        socket.send_fds(control, [number_bytes(len(order))], descriptors)
        control.sendall(order)

    def _running(self) -> socket.socket:
        if self._control is None:
            self._control, its_control = socket.socketpair()
            self._environment = dict(os.environ)
            with its_control:
                program = [*command_of("training_service.jobs.fork_server"), str(its_control.fileno()), *self._modules]
                self._process = subprocess.Popen(
                    program,
                    stdin=subprocess.DEVNULL,
                    env={**_MALLOC, **_BLAS, **os.environ},
                    pass_fds=[its_control.fileno()],
                )
        return self._control

    def _end(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


# Nearly every job fits a head, and imports scikit-learn for it: 1.4 s of a core each, unless its fork has it already.
_SKLEARN = ("sklearn.linear_model", "sklearn.ensemble", "sklearn.metrics")
FORK_SERVER = ForkServer((JOB_WORKER, BACKGROUND_WORKER, SEARCH_WORKER, *_SKLEARN))
"""The fork server of this process."""


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


def read_order(code: int) -> bytes:
    """Read the one line on standard input; from then on, end this process at once, in any state, when that ends."""
    line = sys.stdin.buffer.readline()
    if not line:  # the service is dead, or has no work after all
        os._exit(code)

    def await_end() -> None:
        with contextlib.suppress(ConnectionError):  # the service is dead, and left answers unread
            while sys.stdin.buffer.read(1):
                pass
        os._exit(code)

    threading.Thread(target=await_end, daemon=True).start()
    return line


async def _stream(end: socket.socket) -> _Stream:
    end.setblocking(False)
    return await asyncio.open_unix_connection(sock=end)


async def _pid(told: asyncio.StreamReader) -> int:
    try:
        pid = await _number(told)
    except asyncio.IncompleteReadError as error:
        raise OSError(errno.ECHILD, "the process that starts workers has died") from error
    if pid < 0:
        raise OSError(-pid, os.strerror(-pid))
    return pid


async def _number(told: asyncio.StreamReader) -> int:
    return number_of(await told.readexactly(NUMBER_BYTES))
