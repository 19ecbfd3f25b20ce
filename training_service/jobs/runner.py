"""Claims jobs from the queue and runs each in a worker process, renewing the lease while that process lives.

The worker does the job's own writes; the runner only ends a job whose worker died. A runner that is killed takes its
workers with it, and the queue hands its jobs to another once their leases have run out, or one starts where it ran.
"""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial

import structlog

from model_store.errors import LeaseLost, StoreError
from model_store.names import job_name
from model_store.records.job_lifecycle import ACTIVE, STOPPING, JobState
from model_store.records.jobs import TrainingJob
from model_store.registry.jobs import Claim, JobStore
from training_service.jobs.owners import is_gone, new_owner
from training_service.jobs.work_order import EXIT_STOPPED, WorkOrder
from training_service.jobs.worker_process import (
    FORK_SERVER,
    JOB_WORKER,
    SEARCH_WORKER,
    ForkServer,
    WorkerProcess,
    how_it_ended,
)
from training_service.settings import TrainingSettings
from training_service.threads import Threads

_log = structlog.get_logger()


class Runner:
    """Runs up to `num_concurrent_jobs` jobs at once until `stopping` is set, and one search beside them.

    A search trains nothing itself, and waits for jobs: it must not take the place of one.
    """

    def __init__(
        self,
        jobs: JobStore,
        settings: TrainingSettings,
        stopping: asyncio.Event,
        threads: Threads,
        *,
        fork_server: ForkServer = FORK_SERVER,
    ) -> None:
        """Take a thread for each job and the search, which no other work uses: leases are renewed under any load."""
        self._threads = threads
        self._fork_server = fork_server
        self._jobs = jobs
        self._settings = settings
        self._stopping = stopping

    async def run(self) -> None:
        """Work until `stopping`; running jobs then return to the queue.

        Jobs of a killed runner of this machine are taken over at once, before the end of their leases.
        """
        try:
            await self._threads.run(self._jobs.release_gone, is_gone)
        except StoreError as error:  # the leases run out all the same
            _log.warning("lost_jobs_not_released", reason=error.in_full)
        except Exception:  # noqa: BLE001  as above
            _log.exception("lost_jobs_not_released")
        async with asyncio.TaskGroup() as slots:
            for _ in range(self._settings.num_concurrent_jobs):
                slots.create_task(self._run_slot(JOB_WORKER))
            if self._settings.num_concurrent_jobs:
                slots.create_task(self._run_slot(SEARCH_WORKER))

    async def _run_slot(self, module: str) -> None:
        claim_next = partial(self._jobs.claim, searches=module == SEARCH_WORKER)
        while not self._stopping.is_set():
            try:
                claim = await self._threads.run(claim_next, new_owner())
                if claim is not None:
                    await self._attend(claim, module)
                    continue
            except StoreError as error:  # no answer: the runner outlives that
                _log.warning("job_not_started", reason=error.in_full)
            except Exception:  # noqa: BLE001  nor does anything else that goes wrong with one job end the others
                _log.exception("job_not_started")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self._settings.poll_seconds)

    async def _attend(self, claim: Claim, module: str) -> None:
        """Run one attempt of a job to its end."""
        try:
            worker = await self._started(claim, module)
        except OSError as error:  # the job need not wait until the lease has run out
            reason = f"no worker process could be started ({error.strerror})"
            await self._threads.run(self._jobs.release, claim, reason)
            raise
        _log.info("job_started", job=job_name(claim.job_id), attempt=claim.attempt, pid=worker.pid)
        try:
            await worker.send(WorkOrder(claim, self._settings).to_line())
            await self._watch(claim, worker)
        finally:
            await worker.kill()
        await self._threads.run(self._settle, claim, worker.returncode or 0)

    async def _started(self, claim: Claim, module: str) -> WorkerProcess:
        """Start a worker, and renew the lease meanwhile: the first start imports PyTorch."""
        starting = asyncio.create_task(self._fork_server.start(module))
        try:
            while not starting.done():
                await asyncio.wait({starting}, timeout=self._settings.heartbeat_seconds)
                if not starting.done():
                    await self._may_go_on(claim)
            return await starting
        finally:
            starting.cancel()

    async def _watch(self, claim: Claim, worker: WorkerProcess) -> None:
        """Renew the lease until the worker has ended; stop the worker when the job or the service is to stop."""
        exited, stopping = asyncio.create_task(worker.wait()), asyncio.create_task(self._stopping.wait())
        try:
            while not stopping.done() and await self._may_go_on(claim):
                seconds = self._settings.heartbeat_seconds
                await asyncio.wait({exited, stopping}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
                if exited.done():
                    return
            await _stop(worker, exited, self._settings.stop_grace_seconds)
        finally:
            stopping.cancel()
            exited.cancel()

    async def _may_go_on(self, claim: Claim) -> bool:
        try:
            state = await self._threads.run(self._jobs.heartbeat, claim)
        except LeaseLost:  # the worker has just ended the job, or another runner has it
            return False
        except StoreError as error:  # the lease may outlast this
            _log.warning("heartbeat_failed", job=job_name(claim.job_id), reason=error.in_full)
            return True
        return state in ACTIVE - STOPPING

    def _settle(self, claim: Claim, code: int) -> None:
        """Hand a job back whose worker has ended without ending it."""
        job = self._jobs.get(claim.job_id)
        if job.state in ACTIVE:
            with contextlib.suppress(LeaseLost):  # then it is another runner's to settle
                job = self._give_up(claim, job.state, code)
        _log.info(
            "job_left", job=job.name, state=str(job.state), error=job.error.message if job.error is not None else ""
        )

    def _give_up(self, claim: Claim, state: JobState, code: int) -> TrainingJob:
        if state in STOPPING or self._stopping.is_set():
            return self._jobs.hand_back(claim)
        return self._jobs.release(claim, _reason(code))


def _reason(code: int) -> str:
    if code == EXIT_STOPPED:
        return "its worker stopped before the end"
    return f"its worker {how_it_ended(code)}"


async def _stop(worker: WorkerProcess, exited: asyncio.Task[int], grace_seconds: float) -> None:
    """Ask a worker to stop, and wait a while for it."""
    worker.terminate()
    await asyncio.wait({exited}, timeout=grace_seconds)
