"""One version in this service: its state, its leases, and the requests that wait for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from inference_service.lifecycle.policy import VersionSnapshot, VersionState
from inference_service.models.drift_monitor import DriftMonitor
from inference_service.models.precision import Agreement, Backend, Precision
from inference_service.models.resident import ResidentVersion
from inference_service.models.statistics import VersionStatistics
from model_store.modalities import InputSpec
from model_store.names import VersionName
from model_store.tasks import Task


@dataclass(eq=False)
class ServedVersion:
    """The state of one version; only the manager and its models change it.

    `used_at` and `requested_at` are times of time.monotonic. `num_failures` counts failed loads in a row, and
    `last_failure` is the text of the last one. See policy.VersionSnapshot for the other fields.
    """

    name: VersionName
    manifest_digest: str
    wanted: bool = True
    is_pinned: bool = False
    is_on_demand: bool = False
    is_deferred: bool = False
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
    requested_at: float = 0.0
    num_failures: int = 0
    last_failure: str = ""
    retry_at: float = 0.0
    drain_timer: asyncio.TimerHandle | None = None

    def move(self, state: VersionState, reason: str = "") -> None:
        """Enter a state, and wake the requests that wait for the version to leave the previous one."""
        self.state, self.reason, self.updated_at = state, reason, datetime.now(UTC)
        self.moved.set()
        self.moved = asyncio.Event()

    @contextmanager
    def requested(self) -> Iterator[None]:
        """Count a request that waits for this version, for the length of the block."""
        if self.num_waiting == 0:
            self.requested_at = time.monotonic()
        self.num_waiting += 1
        try:
            yield
        finally:
            self.num_waiting -= 1

    @property
    def is_available(self) -> bool:
        """Say whether it answers: now, or where it is deferred, once its first request has loaded it."""
        return self.state is VersionState.READY or (self.is_deferred and self.state is not VersionState.FAILED)

    def is_idle(self) -> bool:
        """Say whether no request holds this version or waits for it."""
        return self.num_leases == self.num_waiting == 0

    def stop_timer(self) -> None:
        """Cancel the drain deadline."""
        if self.drain_timer is not None:
            self.drain_timer.cancel()
            self.drain_timer = None

    def snapshot(self, *, wanted: bool, answers: bool, replaces: bool, is_being_replaced: bool) -> VersionSnapshot:
        """Return the snapshot for the policy."""
        return VersionSnapshot(
            self.name,
            # A measurement occupies the loader thread as a load does.
            VersionState.LOADING if self.is_measuring else self.state,
            wanted,
            answers,
            self.retry_at,
            requested_at=self.requested_at if self.num_waiting else None,
            replaces=replaces,
            is_being_replaced=is_being_replaced,
            is_pinned=self.is_pinned,
            is_on_demand=self.is_on_demand,
            is_deferred=self.is_deferred,
            in_use=self.num_leases > 0,
            used_at=max(self.used_at, self.ready_at),
            stages=self.stages,
        )

    def updated(self, snapshot: VersionSnapshot) -> VersionSnapshot:
        """Return the snapshot with the current use, which changes with every request without notice."""
        in_use, used_at = self.num_leases > 0, max(self.used_at, self.ready_at)
        if (in_use, used_at) == (snapshot.in_use, snapshot.used_at):
            return snapshot
        return replace(snapshot, in_use=in_use, used_at=used_at)


@dataclass(frozen=True)
class VersionReport:
    """The state of a version as RPCs report it."""

    name: VersionName
    state: VersionState
    reason: str
    updated_at: datetime
    resident_bytes: int
    shared_bytes: int
    load_seconds: float
    statistics: VersionStatistics | None = None
    """The statistics of its requests; None for a version that is not loaded."""
    last_used_at: datetime | None = None
    is_pinned: bool = False
    precision: Precision | None = None
    backend: Backend | None = None
    agreements: tuple[Agreement, ...] = ()
    drift: DriftMonitor | None = None
    input_spec: InputSpec | None = None
    """The input spec; None for a version that is not loaded."""
    task: Task | None = None
    embedding_size: int = 0


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
        version.resident.backend if version.resident else None,
        version.resident.agreements if version.resident else (),
        version.resident.drift if version.resident else None,
        version.resident.input_spec if version.resident else None,
        version.resident.task if version.resident else None,
        version.resident.embedding_size if version.resident else 0,
    )
