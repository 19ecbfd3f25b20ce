"""Notifies the watchers of the change feed: one thread follows the feed for all of them."""

from __future__ import annotations

import asyncio
import threading
from bisect import bisect_right
from collections.abc import Sequence

import structlog

from model_store.errors import Expired, StoreError, Unavailable
from model_store.records.changes import Change
from model_store.transactions.changes import ChangeFeed
from training_service.threads import Threads

_MAX_KEPT = 1000
_RETRY_SECONDS = 1.0
_log = structlog.get_logger()


class ChangeNotifier:
    """Notifies of committed changes; use it on the event loop that runs it."""

    def __init__(self, feed: ChangeFeed, *, poll_seconds: float) -> None:
        self._feed = feed
        self._poll_seconds = poll_seconds
        self._newest = self._kept_after = 0
        self._num_begun = 0
        self._kept: list[Change] = []
        self._rung = asyncio.Event()
        self._stop = threading.Event()

    async def run(self) -> None:
        """Follow the feed until stopped; a database that is lost is tried again and again."""
        with Threads("feed", 1, max_waiting=0) as thread:
            try:
                await thread.run(self._follow, asyncio.get_running_loop())
            finally:
                self.stop()  # where this is cancelled, the thread still follows, and is waited for

    def stop(self) -> None:
        """End `run`, and every wait."""
        self._stop.set()
        self._rung.set()

    async def after(self, sequence: int) -> Sequence[Change] | None:
        """Return the changes after this one, as soon as there are some; None if the caller has to read the feed itself.

        That is the case if they are too old to be kept here, or if the feed continues from an unexpected change. Raises
        Unavailable when the service stops.
        """
        num_begun = self._num_begun
        while self._newest <= sequence and num_begun == self._num_begun and not self._stop.is_set():
            await self._rung.wait()
        if self._stop.is_set():
            raise Unavailable("the service is stopping: watch again, after the last sequence number, once it is back")
        if sequence < self._kept_after or num_begun != self._num_begun:
            return None
        return self._kept[bisect_right(self._kept, sequence, key=lambda change: change.sequence) :]

    def _follow(self, loop: asyncio.AbstractEventLoop) -> None:
        sequence: int | None = None
        while not self._stop.is_set():
            try:
                sequence = self._feed.newest() if sequence is None else sequence
                loop.call_soon_threadsafe(self._begin, sequence)
                for changes in self._feed.follow(sequence, stop=self._stop, poll_seconds=self._poll_seconds):
                    sequence = changes[-1].sequence
                    loop.call_soon_threadsafe(self._take, changes)
            except Expired:  # the database did not answer for that long: those who wait look where it stands now
                sequence = None
            except StoreError as error:
                _log.warning("change_feed_lost", error=error.in_full, retry_seconds=_RETRY_SECONDS)
                self._stop.wait(_RETRY_SECONDS)
            except Exception:  # noqa: BLE001  the outermost frame of a thread that nobody starts again
                _log.exception("change_feed_failed", retry_seconds=_RETRY_SECONDS)
                self._stop.wait(_RETRY_SECONDS)

    def _begin(self, sequence: int) -> None:
        """Keep the changes after this one only, unless it is the expected one."""
        if sequence != self._newest:
            self._newest = self._kept_after = sequence
            self._kept.clear()
            self._num_begun += 1
        self._ring()

    def _take(self, changes: Sequence[Change]) -> None:
        self._kept += changes
        self._newest = changes[-1].sequence
        if num_old := max(len(self._kept) - _MAX_KEPT, 0):
            self._kept_after = self._kept[num_old - 1].sequence
            del self._kept[:num_old]
        self._ring()

    def _ring(self) -> None:
        self._rung.set()
        if not self._stop.is_set():
            self._rung = asyncio.Event()
