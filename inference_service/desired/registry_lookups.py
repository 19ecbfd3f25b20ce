"""Looks up names of requests that the service does not hold, with few queries to the registry."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from cachetools import TTLCache

from inference_service.desired.desired_versions import Found, Target
from model_store.errors import IllegalState, NotFound, StoreError

_NUM_AT_ONCE = 4
_NUM_REMEMBERED = 10_000


@dataclass(eq=False)
class _LookUp:
    """One running lookup; `is_stale` where its model has changed since it began."""

    task: asyncio.Task[None]
    is_stale: bool = False


class Lookups:
    """Calls `look_up` in threads, a few at once and once per name; use it on the event loop only.

    `take` receives each result before any later change of its model. A name that does not exist is cached for
    `remember_seconds`, so that many requests for a wrong name make one query.
    """

    def __init__(
        self, look_up: Callable[[Target], Found], take: Callable[[Found], object], *, remember_seconds: float = 1.0
    ) -> None:
        self._look_up = look_up
        self._take = take
        self._free = asyncio.Semaphore(_NUM_AT_ONCE)
        self._running: dict[Target, _LookUp] = {}
        self._refused: TTLCache[Target, StoreError] = TTLCache(_NUM_REMEMBERED, ttl=remember_seconds)

    async def find(self, target: Target) -> None:
        """Look up a name and pass the result to `take`; raise NotFound, Unavailable, or IllegalState after a deletion.

        A caller that is cancelled does not cancel the lookup for others.
        """
        error = self._refused.get(target)
        if error is not None:
            raise error.with_traceback(None)
        if target not in self._running:
            self._running[target] = _LookUp(asyncio.create_task(self._ask(target)))
        await asyncio.shield(self._running[target].task)

    def note_change(self, model_id: str) -> None:
        """Forget the lookups of a model, because the registry has changed it."""
        for target, running in self._running.items():
            running.is_stale |= target.model_id == model_id
        for target in [each for each in self._refused if each.model_id == model_id]:
            self._refused.pop(target, None)  # possibly expired meanwhile

    async def _ask(self, target: Target) -> None:
        try:
            async with self._free:
                self._take(await self._current(target))
        except (NotFound, IllegalState) as error:
            self._refused[target] = error
            raise
        finally:
            del self._running[target]

    async def _current(self, target: Target) -> Found:
        """Look up again where the model changed meanwhile: an older result would overwrite a newer change."""
        running = self._running[target]
        while True:
            running.is_stale = False
            try:
                found = await asyncio.to_thread(self._look_up, target)
            except (NotFound, IllegalState):
                if not running.is_stale:
                    raise
            else:
                if not running.is_stale:
                    return found
