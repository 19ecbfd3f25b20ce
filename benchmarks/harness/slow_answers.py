"""A TCP proxy whose answers are late: what a client sees of a server far away, or of one that is busy."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_CHUNK_BYTES = 64 * 1024


class SlowAnswers:
    """Passes bytes on to a server, and what comes back `delay_seconds` later; that may change at any time."""

    def __init__(self, host: str, port: int) -> None:
        self._server = host, port
        self.delay_seconds = 0.0
        self.port = 0

    async def run(self, listening: threading.Event, stopping: asyncio.Event) -> None:
        """Serve on a free port of loopback until told to stop."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        listening.set()
        await stopping.wait()
        server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(*self._server)
        with suppress(ConnectionError):
            await asyncio.gather(self._pass_on(reader, server_writer), self._pass_on_late(server_reader, writer))

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def _pass_on_late(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on each chunk after the delay, those close behind it without another one."""
        loop = asyncio.get_running_loop()
        chunks: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def write() -> None:
            while (chunk := await chunks.get())[1]:
                await asyncio.sleep(chunk[0] - loop.time())
                writer.write(chunk[1])
                await writer.drain()
            writer.close()

        writing = asyncio.create_task(write())
        data = b"first"
        while data:
            data = await reader.read(_CHUNK_BYTES)
            chunks.put_nowait((loop.time() + self.delay_seconds, data))
        await writing


@contextmanager
def slow_answers(host: str, port: int) -> Iterator[SlowAnswers]:
    """Run a proxy of a server until the block ends."""
    proxy, listening = SlowAnswers(host, port), threading.Event()
    ends: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def run() -> None:
        ends.append((asyncio.get_running_loop(), asyncio.Event()))
        await proxy.run(listening, ends[0][1])

    thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
    thread.start()
    listening.wait()
    try:
        yield proxy
    finally:
        loop, stopping = ends[0]
        loop.call_soon_threadsafe(stopping.set)
        thread.join()
