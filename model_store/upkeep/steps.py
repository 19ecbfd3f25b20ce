"""The steps of upkeep: each removes data beyond its age, while the store is in use."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from model_store.blobs import BlobStore
from model_store.database.engine import Database
from model_store.upkeep.gc import CHECKPOINTS_KEPT_FOR, DEFAULT_GRACE_SECONDS, Collector
from model_store.upkeep.history import HistoryPruner
from model_store.upkeep.paced_writes import PacedWrites

Counts = Mapping[str, int]
"""The number of removed items of each kind."""
Step = Callable[[], Counts]


@dataclass(frozen=True)
class Ages:
    """The age limit of each kind; `garbage` is blobs that no row names, by the age of their last write."""

    changes: timedelta = timedelta(days=30)
    events: timedelta = timedelta(days=90)
    jobs: timedelta = timedelta(days=365)
    checkpoints: timedelta = CHECKPOINTS_KEPT_FOR
    quarantine: timedelta = timedelta(days=30)
    garbage: timedelta = timedelta(seconds=DEFAULT_GRACE_SECONDS)


class Upkeep:
    """The steps of one round; each may run at any time, also twice at once. The history of aliases is never pruned."""

    def __init__(self, database: Database, blobs: BlobStore, ages: Ages) -> None:
        self._database = database
        self._blobs = blobs
        self._ages = ages

    def steps(self, pause: Callable[[float], None] = time.sleep) -> dict[str, Step]:
        """Return the steps by name, in their order.

        A step calls `pause` before each of its short transactions, with the seconds to leave to other writers. An
        exception that `pause` raises ends the step.
        """
        ages, writes = self._ages, PacedWrites(self._database, pause)
        history = HistoryPruner(self._database, writes)
        return {
            "changes": lambda: {"num_changes": history.prune_changes(ages.changes)},
            "events": lambda: {"num_events": history.prune_events(ages.events)},
            "jobs": lambda: {"num_jobs": history.prune_jobs(ages.jobs)},
            "garbage": lambda: self._collect(writes),
            "quarantine": lambda: self._empty_quarantine(writes),
        }

    def _collect(self, writes: PacedWrites) -> Counts:
        """Purge deleted resources, drop checkpoints of ended jobs, and remove blobs that no row names."""
        garbage = Collector(
            self._database,
            self._blobs,
            grace_seconds=self._ages.garbage.total_seconds(),
            checkpoints_kept_for=self._ages.checkpoints,
            writes=writes,
        ).collect()
        return {
            "num_versions": garbage.num_versions,
            "num_models": garbage.num_models,
            "num_datasets": garbage.num_datasets,
            "num_blobs": garbage.num_blobs,
            "num_unfinished": garbage.num_unfinished,
            "size_bytes": garbage.size_bytes,
        }

    def _empty_quarantine(self, writes: PacedWrites) -> Counts:
        before = time.time() - self._ages.quarantine.total_seconds()
        old = [blob for blob in self._blobs.quarantined() if blob.moved_at < before]
        for blob in old:
            writes.check_going_on()
            self._blobs.drop_quarantined(blob)
        return {"num_blobs": len(old), "size_bytes": sum(blob.size_bytes for blob in old)}
