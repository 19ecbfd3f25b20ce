"""A TCP link between a client and a server that breaks as networks do."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

_TIMEOUT = 60.0


@dataclass
class _Connection:
    """One connection: whether it was cut, and how many bytes to the server it carries before it breaks off."""

    writers: tuple[asyncio.StreamWriter, asyncio.StreamWriter]
    breaks_after: int | None
    is_cut: bool = False

    def count(self, num_bytes: int) -> bool:
        """Count bytes to the server; say whether the connection carries them."""
        if self.breaks_after is None:
            return True
        self.breaks_after -= num_bytes
        return self.breaks_after >= 0

    def break_off(self) -> None:
        """Close both ends without a word, as a router that was restarted does."""
        for writer in self.writers:
            writer.transport.abort()


class Link:
    """A link to a server whose connections can be cut without a packet, or break off after so many bytes to the server.

    What either side sends over a connection that was cut goes nowhere; those that are made later work.
    """

    def __init__(self, address: str) -> None:
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        self._loop = asyncio.new_event_loop()
        self._server = self._loop.run_until_complete(asyncio.start_server(self._join, "127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        self.breaks_after: Iterator[int] = iter(())
        """How many bytes each next connection carries to the server before it breaks off; those behind its end, all."""
        self.num_broken = 0
        self.num_bytes = 0
        """How many bytes all connections have carried to the server."""
        self._connections: list[_Connection] = []
        self._carrying: list[asyncio.Task[None]] = []
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def cut(self) -> None:
        """Let nothing through any more over the connections that there are."""
        for each in self._connections:
            each.is_cut = True

    def lead_to(self, address: str) -> None:
        """Let later connections lead to another server."""
        self._host, _, port = address.rpartition(":")
        self._port = int(port)

    def close(self) -> None:
        """End it."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(_TIMEOUT)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_TIMEOUT)
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        for each in self._connections:
            each.break_off()
        await asyncio.gather(*self._carrying, return_exceptions=True)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(self._host, self._port)
        except ConnectionError:
            writer.transport.abort()
            return
        connection = _Connection((writer, far_writer), next(self.breaks_after, None))
        self._connections.append(connection)
        self._carrying.append(asyncio.create_task(self._carry_there(reader, far_writer, connection)))
        self._carrying.append(asyncio.create_task(self._carry_back(far_reader, writer, connection)))

    async def _carry_there(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: _Connection
    ) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                if not connection.count(len(data)):
                    self.num_broken += 1
                    break
                if not connection.is_cut:
                    self.num_bytes += len(data)
                    writer.write(data)
                    await writer.drain()
            if not connection.is_cut:
                connection.break_off()

    async def _carry_back(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: _Connection
    ) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                if not connection.is_cut:
                    writer.write(data)
                    await writer.drain()
            if not connection.is_cut:
                connection.break_off()
