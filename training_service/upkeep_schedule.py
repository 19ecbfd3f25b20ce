"""Runs the store's upkeep on a schedule: of all training services one at a time, and another where that one dies."""

from __future__ import annotations

import asyncio
import contextlib
import threading

import structlog

from model_store.errors import LeaseLost, StoreError
from model_store.transactions.leases import WorkLease
from model_store.upkeep.steps import Upkeep
from training_service.threads import Threads

_log = structlog.get_logger()


class _StoppedEarly(Exception):
    """The service stops, or another one has the lease."""


class UpkeepSchedule:
    """Does a round of upkeep when it is due; an error in a round does not end the service.

    Rounds and leases have their own threads: no request waits for upkeep, and no lease for requests.
    """

    def __init__(
        self,
        upkeep: Upkeep,
        lease: WorkLease,
        stopping: asyncio.Event,
        *,
        look_seconds: float,
        heartbeat_seconds: float,
    ) -> None:
        """Take the interval of checks whether a round is due, and of renewals of the lease during a round."""
        self._upkeep = upkeep
        self._lease = lease
        self._stopping = stopping
        self._look_seconds = look_seconds
        self._heartbeat_seconds = heartbeat_seconds

    async def run(self) -> None:
        """Work until the service stops; a running round then ends after its current transaction."""
        with Threads("upkeep", 1, max_waiting=0) as rounds, Threads("upkeep-lease", 1, max_waiting=1) as leases:
            while not self._stopping.is_set():
                try:
                    if await leases.run(self._lease.take):
                        await self._round(rounds, leases)
                except StoreError as error:  # the database may be back the next time
                    _log.warning("upkeep_delayed", reason=error.in_full)
                except Exception:  # noqa: BLE001  nothing that upkeep meets is worth the service's end
                    _log.exception("upkeep_failed")
                await self._pause(self._look_seconds)

    async def _round(self, rounds: Threads, leases: Threads) -> None:
        """Do all steps while the lease is renewed, then give it back."""
        stop = threading.Event()
        renewing = asyncio.create_task(self._renew(leases, stop))
        try:
            is_done = await rounds.run(self._do_steps, stop)
        finally:
            stop.set()  # where this is cancelled, the thread still works
            renewing.cancel()
        with contextlib.suppress(LeaseLost):  # then it is another service's to note
            await leases.run(self._lease.give_back, is_done=is_done)

    async def _renew(self, leases: Threads, stop: threading.Event) -> None:
        """Renew the lease; set `stop` after the loss of the lease, or when the service stops."""
        try:
            while not self._stopping.is_set():
                try:
                    await leases.run(self._lease.renew)
                except LeaseLost:
                    return
                except StoreError as error:  # the lease may outlast this
                    _log.warning("upkeep_lease_not_renewed", reason=error.in_full)
                await self._pause(self._heartbeat_seconds)
        finally:
            stop.set()

    def _do_steps(self, stop: threading.Event) -> bool:
        """Do one step after the other; say whether the round came to its end."""

        def pause(seconds: float) -> None:
            if stop.wait(seconds):
                raise _StoppedEarly

        for name, step in self._upkeep.steps(pause).items():
            try:
                counts = step()
            except _StoppedEarly:
                return False
            except StoreError as error:
                _log.warning("upkeep_step_delayed", step=name, reason=error.in_full)
            except Exception:  # noqa: BLE001  one kind that cannot be removed is no reason to keep the others
                _log.exception("upkeep_step_failed", step=name)
            else:
                _log.info("upkeep_step_done", step=name, **counts)
        return True

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)
