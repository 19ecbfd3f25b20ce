"""Wakes those who watch the change feed: one thread follows it for all of them."""

from __future__ import annotations

import asyncio
import threading

import structlog

from model_store.changes import ChangeFeed
from model_store.errors import Expired, StoreError, Unavailable
from training_service.threads import Threads

_RETRY_SECONDS = 1.0
_log = structlog.get_logger()


class ChangeBell:
    """Rings when a change was committed; use it on the event loop that runs it."""

    def __init__(self, feed: ChangeFeed, *, poll_seconds: float) -> None:
        self._feed = feed
        self._poll_seconds = poll_seconds
        self._newest = 0
        self._rung = asyncio.Event()
        self._stop = threading.Event()

    async def run(self) -> None:
        """Follow the feed until stopped; a database that is lost is tried again and again."""
        with Threads("feed", 1, max_waiting=0) as thread:
            await thread.run(self._follow, asyncio.get_running_loop())

    def stop(self) -> None:
        """End `run`, and every wait."""
        self._stop.set()
        self._rung.set()

    async def wait(self, after: int) -> None:
        """Return once a change after this one was committed; raise Unavailable where the service stops."""
        while self._newest <= after and not self._stop.is_set():
            await self._rung.wait()
        if self._stop.is_set():
            raise Unavailable("the service is stopping: watch again, after the last sequence number, once it is back")

    def _follow(self, loop: asyncio.AbstractEventLoop) -> None:
        sequence: int | None = None
        while not self._stop.is_set():
            try:
                sequence = self._feed.newest() if sequence is None else sequence
                loop.call_soon_threadsafe(self._ring, sequence)
                for changes in self._feed.follow(sequence, stop=self._stop, poll_seconds=self._poll_seconds):
                    sequence = changes[-1].sequence
                    loop.call_soon_threadsafe(self._ring, sequence)
            except Expired:  # the database did not answer for that long: those who wait look where it stands now
                sequence = None
            except StoreError as error:
                _log.warning("change_feed_lost", error=error.in_full, retry_seconds=_RETRY_SECONDS)
                self._stop.wait(_RETRY_SECONDS)
            except Exception:  # noqa: BLE001  the outermost frame of a thread that nobody starts again
                _log.exception("change_feed_failed", retry_seconds=_RETRY_SECONDS)
                self._stop.wait(_RETRY_SECONDS)

    def _ring(self, sequence: int) -> None:
        self._newest = sequence
        self._rung.set()
        if not self._stop.is_set():
            self._rung = asyncio.Event()
