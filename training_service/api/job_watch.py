"""Follows the events of training jobs for all who watch them: one read of the database for all of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager

import structlog

from model_store.errors import StoreError, Unavailable
from model_store.records.jobs import JobEvent, TrainingJob
from model_store.registry.jobs import JobStore
from training_service.threads import Threads

_MAX_KEPT = 1000
_log = structlog.get_logger()


class _Followed:
    """One watched job: its state, and its newest events, those after `kept_after`."""

    def __init__(self, job: TrainingJob, max_kept: int) -> None:
        self.job = job
        self._max_kept = max_kept
        self.newest = self.kept_after = job.last_sequence
        self.num_watchers = 0
        self.woken = asyncio.Event()
        self._kept: list[JobEvent] = []

    def after(self, sequence: int) -> Sequence[JobEvent]:
        return [each for each in self._kept if each.sequence > sequence]

    def take(self, job: TrainingJob, events: Sequence[JobEvent]) -> None:
        """Take the state of a job and its new events; wake the watchers."""
        self.job = job
        self._kept += events
        if events:
            self.newest = events[-1].sequence
        if num_old := max(len(self._kept) - self._max_kept, 0):
            self.kept_after = self._kept[num_old - 1].sequence
            del self._kept[:num_old]
        self.wake()

    def wake(self) -> None:
        self.woken.set()
        self.woken = asyncio.Event()


class JobWatch:
    """Notifies the watchers of jobs; use it on the event loop that runs it."""

    def __init__(
        self,
        jobs: JobStore,
        threads: Threads,
        stopping: asyncio.Event,
        *,
        poll_seconds: float,
        max_kept: int = _MAX_KEPT,
    ) -> None:
        """Take the number of events of a job that are kept for its watchers."""
        self._max_kept = max_kept
        self._jobs = jobs
        self._threads = threads
        self._stopping = stopping
        self._poll_seconds = poll_seconds
        self._followed: dict[str, _Followed] = {}

    async def run(self) -> None:
        """Poll the watched jobs until the service stops; retry after the loss of the database."""
        while not self._stopping.is_set():
            try:
                await self._look()
            except StoreError as error:
                _log.warning("watched_jobs_not_read", reason=error.in_full)
            except Exception:  # noqa: BLE001  a watch is not worth the service's end
                _log.exception("watching_jobs_failed")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self._poll_seconds)
        for followed in self._followed.values():
            followed.wake()

    def num_watchers(self, job_id: str) -> int:
        """Return the number of watchers of a job."""
        return self._followed[job_id].num_watchers if job_id in self._followed else 0

    async def follow(self, job_id: str, sequence: int) -> AsyncGenerator[tuple[TrainingJob, JobEvent]]:
        """Yield a job's events after this one until the job and its promotion have ended; then the remaining events.

        Raises JobNotFound, and Unavailable when the service stops.
        """
        job = await self._threads.run(self._jobs.get, job_id)
        with self._watched(job) as followed:
            while True:
                woken, job = followed.woken, followed.job
                events = followed.after(sequence)
                if sequence < followed.kept_after:
                    before = followed.kept_after
                    events = await self._threads.run(self._jobs.events_after, job_id, sequence)
                    sequence = sequence if events else before  # events before it are no longer kept
                for event in events:
                    sequence = event.sequence
                    yield job, event
                if not events and sequence >= followed.newest:
                    if followed.job.is_settled and followed.newest >= followed.job.last_sequence:
                        return
                    await self._news(woken)

    @contextmanager
    def _watched(self, job: TrainingJob) -> Iterator[_Followed]:
        followed = self._followed.setdefault(job.id, _Followed(job, self._max_kept))
        followed.num_watchers += 1
        try:
            yield followed
        finally:
            followed.num_watchers -= 1
            if not followed.num_watchers:
                del self._followed[job.id]

    async def _news(self, woken: asyncio.Event) -> None:
        if not self._stopping.is_set():
            await woken.wait()
        if self._stopping.is_set():
            raise Unavailable("the service is stopping: watch again, after the last sequence number, once it is back")

    async def _look(self) -> None:
        """Read the new events of the watched jobs, each once."""
        if not self._followed:
            return
        newest = await self._threads.run(self._jobs.newest_events, tuple(self._followed))
        for job_id, sequence in newest.items():
            followed = self._followed.get(job_id)
            if followed is not None and sequence > followed.newest:
                followed.take(*await self._threads.run(self._read, job_id, followed.newest))

    def _read(self, job_id: str, after: int) -> tuple[TrainingJob, Sequence[JobEvent]]:
        # Events behind the state wait for the next poll: if they were taken now, the state would never be read again.
        job = self._jobs.get(job_id)
        events = self._jobs.events_after(job_id, after)
        return job, [each for each in events if each.sequence <= job.last_sequence]
