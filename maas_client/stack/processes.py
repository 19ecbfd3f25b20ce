"""The two services as child processes of a command: start them, await their health, stop them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from grpc_runtime.child_process import command_of
from grpc_runtime.variables import NOT_A_SETTING
from maas_client.failures import CommandFailed
from maas_client.settings import INFERENCE_ADDRESS, TRAINING_ADDRESS, ClientSettings
from maas_client.stack.home_lock import HomeLock
from maas_client.stack.log_files import LogLimit, rotate
from maas_client.wire.health import is_serving

_STOP_SECONDS = 20.0
_LOG_TAIL_LINES = 8


@dataclass(frozen=True)
class Service:
    """A service's module, and the prefix of its own settings."""

    module: str
    prefix: str
    default_bind: str


TRAINING = Service("training_service", "MAAS_TRAINING_", TRAINING_ADDRESS)
INFERENCE = Service("inference_service", "MAAS_INFERENCE_", INFERENCE_ADDRESS)
_INFERENCE_ADDRESSES = f"{TRAINING.prefix}INFERENCE_ADDRESSES"


class ServiceProcess:
    """One service as a child process that logs into a file and announces its address in another."""

    def __init__(self, service: Service, folder: Path, environment: Mapping[str, str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.service = service
        self.log_file = folder / f"{service.module}.log"
        self._address_file = folder / f"{service.module}.address"
        self._address_file.unlink(missing_ok=True)
        variables = {**os.environ, **environment, **self._own_variables()}
        rotate(self.log_file)
        with self.log_file.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                command_of(service.module),
                env=variables,
                # Held open, never written to: it ends with this process, however that ends.
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                # Ctrl-C reaches the command alone, which then stops its services in order.
                start_new_session=True,
            )
        self._log_limit = LogLimit(self.log_file)

    def _own_variables(self) -> dict[str, str]:
        prefix = self.service.prefix
        return {f"{prefix}ADDRESS_FILE": str(self._address_file), f"{prefix}STOP_AT_END_OF_INPUT": "true"}

    @property
    def address(self) -> str:
        """Where it listens; only once it is serving."""
        return self._address_file.read_text()

    @property
    def pid(self) -> int:
        """Its process's number."""
        return self._process.pid

    def await_serving(self, timeout_seconds: float, *, or_not_ready: bool = False) -> str:
        """Wait until it reports SERVING and return its address; raise CommandFailed where it ends or takes too long.

        With `or_not_ready` it is enough that it has tried to load everything, and says what it could not load.
        """
        deadline = time.monotonic() + timeout_seconds
        while not self._is_serving():
            if or_not_ready and self.obstacles():
                return self.address
            if self._ends_within(0.05) or time.monotonic() > deadline:
                raise CommandFailed(f"{self.service.module} did not start: {self._last_words()}")
        return self.address

    def wait(self) -> int:
        """Wait for its end and return its exit code."""
        return self._process.wait()

    def has_ended(self) -> bool:
        """Say whether it has ended."""
        return self._process.poll() is not None

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        self._log_limit.stop()
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """Ask it to finish what it has and end; kill it where it does not."""
        self._log_limit.stop()
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            return self._process.returncode

    def _ends_within(self, seconds: float) -> bool:
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _is_serving(self) -> bool:
        return self._address_file.exists() and is_serving(self.address, is_here=True)

    def remarks(self) -> list[str]:
        """Return what the service has logged of variables that are no settings."""
        return [_remark(line) for line in self._lines() if NOT_A_SETTING in line]

    def obstacles(self) -> list[str]:
        """Return what the service has logged of names that it does not answer; it answers for everything else."""
        told = [line for line in self._lines() if "not_ready" in line or "ready_in_part" in line]
        return [obstacle for line in told for obstacle in _obstacles(line)]

    def _lines(self) -> list[str]:
        """Return what the service has logged since it was started."""
        with self.log_file.open("rb") as file:
            file.seek(self._log_start)
            return file.read().decode(errors="replace").splitlines()

    def _last_words(self) -> str:
        """Return the line in which the service says why it ended, else the end of what it has logged."""
        lines = self._lines()
        said = [line for line in lines if line.startswith("maas-")]
        return said[-1] if said else "\n".join([f"see {self.log_file}, which ends:", *lines[-_LOG_TAIL_LINES:]])


class Stack:
    """Both services on one store below `home`; a context manager that stops what it started."""

    def __init__(self, home: Path, *, free_ports: bool = False, environment: Mapping[str, str] | None = None) -> None:
        self._home = home
        self._lock = HomeLock(home)
        self._environment = {"MAAS_HOME": str(home), **(environment or {})}
        if free_ports:
            # The inference service keeps its port when it is started anew: the training service asks it there.
            binds = {TRAINING: "127.0.0.1:0", INFERENCE: f"127.0.0.1:{_free_port()}"}
            self._environment |= {f"{each.prefix}BIND": bind for each, bind in binds.items()}
        self._environment = {_INFERENCE_ADDRESSES: self._inference_bind(), **self._environment}
        self.services: dict[str, ServiceProcess] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def claim(self) -> None:
        """Keep others from starting services on this home; raise CommandFailed where one has."""
        self._lock.acquire()

    def start(self, *services: Service) -> None:
        """Start these services, or both, without waiting for them; raise CommandFailed where another has the home."""
        self.claim()
        for service in services or (TRAINING, INFERENCE):
            self.services[service.module] = ServiceProcess(service, self._home / "run", self._environment)

    def await_serving(self, timeout_seconds: float = 60.0, *, or_not_ready: bool = False) -> ClientSettings:
        """Wait for every started service, as ServiceProcess does, and return where a client finds them."""
        addresses = {
            name: service.await_serving(timeout_seconds, or_not_ready=or_not_ready)
            for name, service in self.services.items()
        }
        return ClientSettings(
            addresses.get(TRAINING.module, TRAINING_ADDRESS), addresses.get(INFERENCE.module, INFERENCE_ADDRESS)
        )

    def _inference_bind(self) -> str:
        """Return where the training service asks for the inference service, unless the environment says so itself."""
        variables = {**os.environ, **self._environment}
        bind = variables.get(f"{INFERENCE.prefix}BIND", INFERENCE.default_bind)
        return variables.get(_INFERENCE_ADDRESSES, "" if bind.endswith(":0") else bind)

    def stop(self) -> None:
        """Stop every service that runs, the training service first: its last events still find a store."""
        for service in self.services.values():
            service.stop()
        self.services.clear()
        self._lock.release()


def _remark(line: str) -> str:
    """Return the remark in a line of a log, which is JSON unless the operator wants it otherwise."""
    try:
        return str(json.loads(line)["remark"])
    except ValueError:
        return line


def _obstacles(line: str) -> list[str]:
    """Return what keeps a service from being ready, out of a line of its log."""
    try:
        return [str(each) for each in json.loads(line)["obstacles"]]
    except ValueError:
        return [line]


def _free_port() -> int:
    """Return a port of this machine that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
