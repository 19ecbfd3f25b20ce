"""A server answers pings at any pace: gRPC's client measures the bandwidth by them, many times a second."""

from __future__ import annotations

import asyncio

from grpc_runtime.server import GrpcServer
from grpc_runtime.settings import ServerSettings
from tests.inference_service.loops import on_a_loop

TIMEOUT = 10.0
NUM_PINGS = 20
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS, PING, GOAWAY, ACK = 4, 6, 7, 1  # RFC 9113, section 6


def frame(kind: int, payload: bytes = b"") -> bytes:
    """Return a frame of the whole connection, without flags."""
    return len(payload).to_bytes(3, "big") + bytes([kind, 0]) + bytes(4) + payload


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, int, bytes]:
    """Return the kind, the flags and the payload of the next frame."""
    head = await reader.readexactly(9)
    return head[3], head[4], await reader.readexactly(int.from_bytes(head[:3], "big"))


@on_a_loop
async def test_no_number_of_pings_closes_a_connection() -> None:
    """Not even without a call; by default a few within five minutes do, as `too_many_pings`."""
    server = GrpcServer(ServerSettings(bind="127.0.0.1:0"), {})
    host, _, port = (await server.start()).rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(PREFACE + frame(SETTINGS))
    for _ in range(NUM_PINGS):
        writer.write(frame(PING, bytes(8)))
        is_answered = False
        while not is_answered:
            kind, flags, payload = await asyncio.wait_for(read_frame(reader), TIMEOUT)
            assert kind != GOAWAY, payload
            is_answered = kind == PING and bool(flags & ACK)
    writer.close()
    await server.stop()
