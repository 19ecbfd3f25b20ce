"""When a call that broke off is made again: once the service can be had again, and only while that brings something."""

from __future__ import annotations

import time
from collections.abc import Callable

import grpc

from maas_client.wire.resuming import is_back

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.2, 5.0
BROKEN_OFF = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED}
"""Codes of a broken connection, of a service that stops, and of a client that was silent for too long."""


class Retries:
    """The tries of one upload. A service that was never reached is given up at once."""

    def __init__(self, channel: grpc.Channel, reconnect_seconds: float) -> None:
        """Take for how long a service may not answer, or nothing more may arrive there."""
        self._channel = channel
        self._reconnect_seconds = reconnect_seconds
        self._most_bytes = -1
        self._give_up = 0.0
        self._pause_seconds = _FIRST_PAUSE_SECONDS

    def note(self, num_bytes: int) -> None:
        """Take note that the service has answered, and of how many bytes it has."""
        if num_bytes > self._most_bytes:
            self._most_bytes, self._give_up, self._pause_seconds = num_bytes, 0.0, _FIRST_PAUSE_SECONDS

    def wait(self, error: grpc.RpcError) -> bool:
        """Wait until the call that failed so can be made again; return False where that is of no use."""
        if self._most_bytes < 0 or error.code() not in BROKEN_OFF:
            return False
        self._give_up = self._give_up or time.monotonic() + self._reconnect_seconds
        pause_seconds, self._pause_seconds = self._pause_seconds, min(2 * self._pause_seconds, _LONGEST_PAUSE_SECONDS)
        return is_back(self._channel, self._give_up, pause_seconds)


class Progress:
    """Tells of bytes, each once, however often they are sent."""

    def __init__(self, on_sent: Callable[[int], object]) -> None:
        self._on_sent = on_sent
        self._told = 0

    def reach(self, position: int) -> None:
        """Tell of all bytes before a position that were not told of."""
        if position > self._told:
            self._on_sent(position - self._told)
            self._told = position
