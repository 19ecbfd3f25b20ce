"""One version in this service: where it stands, and who waits for it or uses it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from inference_service.lifecycle.policy import VersionSnapshot, VersionState
from inference_service.models.precision import Agreement, Precision
from inference_service.models.resident import ResidentVersion
from inference_service.models.statistics import VersionStatistics
from model_store.names import VersionName


@dataclass(eq=False)
class ServedVersion:
    """Where one version stands; only the manager and its models change it.

    `used_at` and `asked_at` are by time.monotonic. `num_failures` counts those in a row; `last_failure` is the text of
    the last one. See policy.VersionSnapshot for the words.
    """

    name: VersionName
    manifest_digest: str
    wanted: bool = True
    is_pinned: bool = False
    is_kept: bool = False
    at_rest: bool = False
    state: VersionState = VersionState.PENDING
    reason: str = ""
    updated_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    moved: asyncio.Event = field(default_factory=asyncio.Event)
    resident: ResidentVersion | None = None
    stages: Mapping[Hashable, int] | None = None
    is_measuring: bool = False
    load_seconds: float = 0.0
    ready_at: float = 0.0
    used_at: float = 0.0
    num_leases: int = 0
    num_waiting: int = 0
    asked_at: float = 0.0
    num_failures: int = 0
    last_failure: str = ""
    retry_at: float = 0.0
    drain_timer: asyncio.TimerHandle | None = None

    def move(self, state: VersionState, reason: str = "") -> None:
        """Enter a state, and wake whoever waits for the version to leave the one before."""
        self.state, self.reason, self.updated_at = state, reason, datetime.now(UTC)
        self.moved.set()
        self.moved = asyncio.Event()

    @contextmanager
    def asked_for(self) -> Iterator[None]:
        """Note that a request waits for it, until the block ends."""
        if self.num_waiting == 0:
            self.asked_at = time.monotonic()
        self.num_waiting += 1
        try:
            yield
        finally:
            self.num_waiting -= 1

    def is_idle(self) -> bool:
        """Say whether no request holds it or waits for it."""
        return self.num_leases == self.num_waiting == 0

    def stop_timer(self) -> None:
        """Let the drain deadline pass unnoticed."""
        if self.drain_timer is not None:
            self.drain_timer.cancel()
            self.drain_timer = None

    def snapshot(self, *, wanted: bool, answers: bool, replaces: bool, is_held_over: bool) -> VersionSnapshot:
        """Describe it to the policy."""
        return VersionSnapshot(
            self.name,
            # What is being measured has the loader to itself, as what is being loaded.
            VersionState.LOADING if self.is_measuring else self.state,
            wanted,
            answers,
            self.retry_at,
            asked_at=self.asked_at if self.num_waiting else None,
            replaces=replaces,
            is_held_over=is_held_over,
            is_pinned=self.is_pinned,
            is_kept=self.is_kept,
            at_rest=self.at_rest,
            in_use=self.num_leases > 0,
            used_at=max(self.used_at, self.ready_at),
            stages=self.stages,
        )

    def updated(self, snapshot: VersionSnapshot) -> VersionSnapshot:
        """Return how it stands with who uses it now: that changes with every request, and nobody is told."""
        in_use, used_at = self.num_leases > 0, max(self.used_at, self.ready_at)
        if (in_use, used_at) == (snapshot.in_use, snapshot.used_at):
            return snapshot
        return replace(snapshot, in_use=in_use, used_at=used_at)


@dataclass(frozen=True)
class VersionReport:
    """How a version stands, for people and callers."""

    name: VersionName
    state: VersionState
    reason: str
    updated_at: datetime
    resident_bytes: int
    shared_bytes: int
    load_seconds: float
    statistics: VersionStatistics | None = None
    """What it was asked; None where it is not loaded."""
    last_used_at: datetime | None = None
    is_pinned: bool = False
    precision: Precision | None = None
    agreements: tuple[Agreement, ...] = ()
    temperature: float | None = None


def version_report(version: ServedVersion) -> VersionReport:
    """Describe a version."""
    unused = timedelta(seconds=time.monotonic() - version.used_at)
    return VersionReport(
        version.name,
        version.state,
        version.reason,
        version.updated_at,
        version.resident.size_bytes if version.resident else 0,
        version.resident.shared_bytes if version.resident else 0,
        version.load_seconds,
        version.resident.statistics if version.resident else None,
        datetime.now(UTC) - unused if version.used_at else None,
        version.is_pinned,
        version.resident.precision if version.resident else None,
        version.resident.agreements if version.resident else (),
        version.resident.temperature if version.resident else None,
    )
