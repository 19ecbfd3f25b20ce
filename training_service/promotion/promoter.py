"""Follows promotions to their end: a shadow is judged at the end of its time, a moved alias is followed until served.

Every training service follows all of them. None holds a lease: a step that another service has made changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import UTC, datetime

import structlog

from model_store.errors import StoreError
from model_store.names import AliasName, VersionName
from model_store.records.jobs import TrainingJob
from model_store.records.promotion import PromotionState, Verdict
from model_store.transactions.promotions import PromotionStore
from training_service.promotion.serving_state import Serving, Stand, is_shadow_finished, shadow_verdict
from training_service.threads import Threads

_RETRY_SECONDS = 30.0
_log = structlog.get_logger()


class Promoter:
    """Asks the inference services that the operator named, for as long as a promotion is open."""

    def __init__(
        self,
        promotions: PromotionStore,
        addresses: Sequence[str],
        stopping: asyncio.Event,
        threads: Threads,
        *,
        poll_seconds: float,
        patience_seconds: float,
        retry_seconds: float = _RETRY_SECONDS,
    ) -> None:
        self._promotions = promotions
        self._addresses = addresses
        self._stopping = stopping
        self._threads = threads
        self._poll_seconds = poll_seconds
        self._patience_seconds = patience_seconds
        self._retry_seconds = retry_seconds
        self._followed: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Work until `stopping`; open promotions continue when a service is back."""
        async with asyncio.TaskGroup() as tasks:
            while not self._stopping.is_set():
                for job in await self._under_way():
                    if job.id not in self._followed:
                        self._followed[job.id] = tasks.create_task(self._follow(job))
                await self._pause(self._poll_seconds)
            for task in self._followed.values():
                task.cancel()

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _under_way(self) -> Sequence[TrainingJob]:
        try:
            return await self._threads.run(self._promotions.under_way)
        except StoreError as error:  # the database may be back the next time
            _log.warning("promotions_not_read", reason=error.in_full)
        except Exception:  # noqa: BLE001  a row that this code cannot read, say: the service goes on without promotions
            _log.exception("promotions_not_read", retry_seconds=self._retry_seconds)
            await self._pause(self._retry_seconds)
        return ()

    async def _follow(self, job: TrainingJob) -> None:
        """Take the next step of one promotion; an error is retried, and ends no other promotion."""
        try:
            await self._step(job)
        except StoreError as error:
            _log.warning("promotion_delayed", job=job.name, reason=error.in_full)
        except Exception:  # noqa: BLE001  the outermost frame of one promotion
            _log.exception("promotion_failed", job=job.name, retry_seconds=self._retry_seconds)
            await asyncio.sleep(self._retry_seconds)
        finally:
            del self._followed[job.id]

    async def _step(self, job: TrainingJob) -> None:
        promotion, version, spec = job.promotion, job.version, job.spec.promote
        if promotion is None or version is None or spec is None:
            raise ValueError(f"{job.name} has no promotion under way")
        alias = AliasName(version.model_id, spec.alias)
        seconds_left = (promotion.until - datetime.now(UTC)).total_seconds() if promotion.until is not None else 0.0
        if promotion.state is PromotionState.LOADING:
            state, reason = await self._loaded(alias, version, seconds_left)
            await self._threads.run(self._promotions.end_loading, job.id, state, reason)
        else:
            verdict = await self._shadowed(promotion.verdict, spec.shadow_min_rows, alias, version, seconds_left)
            await self._threads.run(self._promotions.end_shadowing, job.id, verdict, self._patience_seconds)

    async def _loaded(self, alias: AliasName, version: VersionName, seconds_left: float) -> tuple[PromotionState, str]:
        """Wait until all services answer the alias from the version, or until the timeout; return the result."""
        servings = self._servings(alias, version)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(seconds_left, 0.0)), asyncio.TaskGroup() as waiting:
                for serving in servings:
                    waiting.create_task(serving.until_served())
        texts = "; ".join(serving.text for serving in servings) or "no inference service is named to be asked"
        if any(serving.stand is Stand.FAILED for serving in servings):
            return PromotionState.REFUSED, texts
        served = servings and all(serving.stand is Stand.SERVED for serving in servings)
        return PromotionState.SERVING if served else PromotionState.PROMOTED, texts

    async def _shadowed(
        self, verdict: Verdict, min_rows: int, alias: AliasName, version: VersionName, seconds_left: float
    ) -> Verdict:
        """Wait until the shadow's time is over and it ran on enough rows, or for the operator's patience.

        Return the state in each service.
        """
        await asyncio.sleep(max(seconds_left, 0.0))
        until = asyncio.get_running_loop().time() + min(seconds_left, 0.0) + self._patience_seconds
        while True:
            servings = await self._asked(alias, version)
            if is_shadow_finished(servings, min_rows) or asyncio.get_running_loop().time() >= until:
                return shadow_verdict(verdict, servings, min_rows)
            await asyncio.sleep(self._poll_seconds)

    async def _asked(self, alias: AliasName, version: VersionName) -> list[Serving]:
        """Ask every service how the version stands."""
        servings = self._servings(alias, version)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._patience_seconds), asyncio.TaskGroup() as asking:
                for serving in servings:
                    asking.create_task(serving.until_answered())
        return servings

    def _servings(self, alias: AliasName, version: VersionName) -> list[Serving]:
        return [Serving(number, each, alias, version) for number, each in enumerate(self._addresses, start=1)]
