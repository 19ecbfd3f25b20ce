"""Notifies watchers of models that changed; a slow watcher never delays the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable


class _Watcher:
    """The ids of models that changed since this watcher last looked, each once: bounded by the number of models."""

    def __init__(self, model_id: str | None, first: Iterable[str]) -> None:
        self._model_id = model_id
        self._changed: dict[str, None] = {}
        self.woken = asyncio.Event()
        for each in first:
            self.tell(each)

    def tell(self, model_id: str) -> None:
        if self._model_id in {None, model_id}:
            self._changed[model_id] = None
            self.woken.set()

    def take(self) -> tuple[str, ...]:
        taken = tuple(self._changed)
        self._changed.clear()
        self.woken.clear()
        return taken


class Watchers:
    """Tells every watcher which models changed; use it on the event loop only.

    A slow watcher misses intermediate states and never the newest: it learns that a model changed, and reads the state
    later.
    """

    def __init__(self) -> None:
        self._watchers: set[_Watcher] = set()
        self._closed = False

    def tell(self, model_id: str) -> None:
        """Note that a model changed."""
        for watcher in self._watchers:
            watcher.tell(model_id)

    async def follow(self, model_id: str | None, first: Iterable[str]) -> AsyncGenerator[str]:
        """Yield the first ids, then those of models that change, until closed; of one model where an id is given."""
        watcher = _Watcher(model_id, first)
        self._watchers.add(watcher)
        try:
            while not self._closed:
                await watcher.woken.wait()
                for changed in watcher.take():
                    yield changed
        finally:
            self._watchers.discard(watcher)

    def close(self) -> None:
        """End every watch, now and later."""
        self._closed = True
        for watcher in self._watchers:
            watcher.woken.set()
