"""A fair queue of decoding jobs: round robin over models, and over the requests of each model."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

J = TypeVar("J")


class FairQueue(Generic[J]):
    """Yields one job of each request at a time, so that a small request does not wait for a large one."""

    def __init__(self) -> None:
        self._models: dict[Hashable, dict[Hashable, deque[J]]] = {}

    def add(self, model: Hashable, request: Hashable, jobs: Iterable[J]) -> None:
        """Let jobs wait, one at least."""
        self._models.setdefault(model, {}).setdefault(request, deque()).extend(jobs)

    def take(self) -> J | None:
        """Return the next job, if one waits."""
        if not self._models:
            return None
        model, requests = next(iter(self._models.items()))
        request, jobs = next(iter(requests.items()))
        job = jobs.popleft()
        del self._models[model], requests[request]
        if jobs:
            requests[request] = jobs  # behind the others
        if requests:
            self._models[model] = requests
        return job

    def drop(self, model: Hashable, request: Hashable) -> None:
        """Forget the jobs of a request."""
        requests = self._models.get(model, {})
        if requests.pop(request, None) is not None and not requests:
            del self._models[model]
