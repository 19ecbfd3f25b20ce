"""Streams of numbered messages that go on where they stopped when the connection breaks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import grpc

from maas_client.wire.streams import OtherThread, read

_PAUSE_SECONDS = 0.2  # between tries of a service that answers, and is not ready yet
_STARTS_AFTER = "maas-after-sequence"


def resumed(
    call: Callable[[Any], Any],
    request: Any,  # noqa: ANN401  the request of any stream whose messages carry a sequence number
    channel: grpc.Channel,
    reconnect_seconds: float,
) -> Iterator[Any]:
    """Yield a stream's messages until its end; none is lost or repeated where the connection breaks.

    Raises grpc.RpcError where the service refuses, or cannot be had again within `reconnect_seconds`.
    """
    give_up = 0.0
    with OtherThread() as thread:
        while True:
            stream = thread.run(lambda: call(request))
            try:
                thread.run(partial(_remember_start, stream, request))
                for message in read(stream, thread):
                    request.after_sequence, give_up = message.sequence, 0.0
                    yield message
            except grpc.RpcError as error:
                give_up = give_up or time.monotonic() + reconnect_seconds
                is_gone = error.code() is grpc.StatusCode.UNAVAILABLE
                if not is_gone or not thread.run(partial(is_back, channel, give_up)):
                    raise
            else:
                return
            finally:
                stream.cancel()


def _remember_start(stream: Any, request: Any) -> None:  # noqa: ANN401  as above
    """Take note of where a stream of what is yet to come begins: it may break before its first message."""
    for key, value in stream.initial_metadata():
        if key == _STARTS_AFTER:
            request.after_sequence = int(value)


def is_back(channel: grpc.Channel, give_up: float, pause_seconds: float = _PAUSE_SECONDS) -> bool:
    """Wait until a service can be had again, and a moment more; return False where it cannot be by then."""
    seconds_left = give_up - time.monotonic()
    if seconds_left <= 0:
        return False
    try:
        grpc.channel_ready_future(channel).result(seconds_left)
    except grpc.FutureTimeoutError:
        return False
    time.sleep(min(pause_seconds, seconds_left))
    return True
