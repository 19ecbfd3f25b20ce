"""The life of a gRPC server: bind, report health, stop on a signal after the requests in flight."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from grpc_runtime.handlers import CallLimits, Guard, Handlers
from grpc_runtime.health import HealthServicer
from grpc_runtime.settings import ServerSettings
from model_store.errors import Unavailable

_log = structlog.get_logger()
_STATES = health_pb2.HealthCheckResponse
_STANDARD_INPUT = 0

Register = Callable[[Any], None]


class GrpcServer:
    """One listening server with reflection and grpc.health.v1; every service starts as NOT_SERVING.

    `registrations` maps a service's full name to the generated function that adds its servicer.
    """

    def __init__(
        self,
        settings: ServerSettings,
        registrations: Mapping[str, Register],
        codes: Mapping[type[Exception], grpc.StatusCode] | None = None,
        guard: Guard | None = None,
    ) -> None:
        self._settings = settings
        self._services = tuple(registrations)
        handlers: Any = Handlers(CallLimits(settings.max_calls, settings.upload_idle_seconds), codes, guard)
        for register in registrations.values():
            register(handlers)
        self._health = HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, handlers)
        names = (*self._services, health.SERVICE_NAME, reflection.SERVICE_NAME)
        add_reflection: Any = reflection_pb2_grpc.add_ServerReflectionServicer_to_server
        add_reflection(reflection.aio.ReflectionServicer(names), handlers)
        self._server = grpc.aio.server(handlers=[handlers], options=_options(settings))

    async def start(self) -> str:
        """Listen, and return the address; raise Unavailable where the port is taken."""
        await self.set_serving(False)
        try:
            port = self._server.add_insecure_port(self._settings.bind)
        except RuntimeError as error:
            raise Unavailable(
                f"cannot listen on {self._settings.bind}: is another server there, or is the host not of this machine?"
            ) from error
        await self._server.start()
        address = f"{self._settings.bind.rpartition(':')[0]}:{port}"
        _log.info("listening", address=address, services=self._services)
        if self._settings.address_file is not None:
            _write_whole(self._settings.address_file, address)
        return address

    async def set_serving(self, serving: bool) -> None:  # noqa: FBT001  the health protocol's own word
        """Report every service, and the server as a whole, as SERVING or NOT_SERVING."""
        state = _STATES.SERVING if serving else _STATES.NOT_SERVING
        for name in ("", *self._services):
            await self._health.set(name, state)

    async def stop(self) -> None:
        """Report NOT_SERVING, refuse new calls, and let those in flight end within the drain time."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(self._settings.drain_seconds)


def _options(settings: ServerSettings) -> list[tuple[str, int]]:
    keepalive_ms = round(1000 * settings.keepalive_seconds)
    return [
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes),
        # A second server on a taken port must fail, not share it.
        ("grpc.so_reuseport", 0),
        # A link that was cut is closed by no packet: without an answer to a ping its calls are ended.
        ("grpc.keepalive_time_ms", keepalive_ms),
        ("grpc.keepalive_timeout_ms", keepalive_ms),
        ("grpc.http2.ping_timeout_ms", keepalive_ms),  # of the pings that measure the bandwidth: others wait for them
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        # Clients may ping as well, at any pace: their gRPC measures the bandwidth by several pings a second. By default
        # a few within five minutes are an attack to a server, and it closes the connection with `too_many_pings`.
        ("grpc.http2.max_ping_strikes", 0),
        ("grpc.max_connection_idle_ms", round(1000 * settings.connection_idle_seconds)),
        ("grpc.max_concurrent_streams", settings.max_calls_per_connection),
        ("grpc.max_allowed_incoming_connections", settings.max_connections),
        ("grpc.server_handshake_timeout_ms", 10_000),  # a connection that says nothing at all is closed by then
    ]


def stop_signals(settings: ServerSettings) -> asyncio.Event:
    """Return an event that SIGINT or SIGTERM sets; call it inside the running loop.

    With `stop_at_end_of_input` the end of standard input sets it too: a parent that holds the other end can then die in
    any way and leave no service behind.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    if settings.stop_at_end_of_input:

        def await_end() -> None:
            # Not sys.stdin: Python cannot end while a thread waits inside of it.
            while os.read(_STANDARD_INPUT, 1):
                pass
            loop.call_soon_threadsafe(stopping.set)

        threading.Thread(target=await_end, daemon=True).start()
    return stopping


def _write_whole(path: Path, text: str) -> None:
    """Write a file that a reader sees whole or not at all."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text)
    temporary.rename(path)
