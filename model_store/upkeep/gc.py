"""Garbage collection: deleted resources that are due, blobs that no row names, and temporary files of killed writers.

Mark and sweep. It is safe beside publishing for two reasons. Blobs younger than the grace period are kept, and putting
a blob that exists makes it young again. Marks are read and tombstones written under one hold of the writer lock: a
publisher either inserts its row before that, or it sees the tombstone and gets Conflict.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from sqlalchemy import or_, select, union
from sqlalchemy.orm import Session

from model_store.blobs import BlobStore, UnfinishedBlob
from model_store.database.engine import Database
from model_store.errors import InvalidInput
from model_store.names import VersionName
from model_store.tables import DatasetPackRow, DatasetRow, JobCheckpointRow, StageRow, VersionRow
from model_store.transactions.deletion import due, due_datasets, purge
from model_store.transactions.job_rows import drop_checkpoints, ended_jobs
from model_store.transactions.tombstones import burying
from model_store.upkeep.paced_writes import PacedWrites
from model_store.upkeep.references import VERSION_COLUMNS, batches, named_among, named_blobs

MIN_GRACE_SECONDS = 60.0
DEFAULT_GRACE_SECONDS = 24 * 3600.0
CHECKPOINTS_KEPT_FOR = timedelta(days=7)
"""The time in which a failed or cancelled job can be retried from its checkpoint."""
_BATCH = 200  # blobs removed in one transaction, which bounds the wait of other writers
_NUM_THREADS = 8  # an object store answers slowly, but many at once


@dataclass(frozen=True)
class Young:
    """Orphan blobs and temporary files younger than the grace period, and their bytes."""

    num_files: int = 0
    size_bytes: int = 0


@dataclass(frozen=True)
class Garbage:
    """Garbage: orphan blobs, abandoned temporary files, and their bytes.

    `num_versions`, `num_models` and `num_datasets` count deleted resources that are due to be purged. `young` is kept
    until the grace period is over, because a writer may be about to name it.
    """

    num_blobs: int
    num_unfinished: int
    size_bytes: int
    num_versions: int = 0
    num_models: int = 0
    num_datasets: int = 0
    young: Young = Young()


@dataclass(frozen=True)
class _Found:
    """The files of a store, old and young: blobs with their bytes by digest, and temporary files."""

    old: dict[str, int] = field(default_factory=dict)
    young: dict[str, int] = field(default_factory=dict)
    old_unfinished: list[UnfinishedBlob] = field(default_factory=list)
    young_unfinished: list[UnfinishedBlob] = field(default_factory=list)

    def garbage(self, removed: Sequence[int], named: Collection[str], num_purged: tuple[int, int, int]) -> Garbage:
        """Return the garbage, given the sizes of removed blobs and the digests that rows name."""
        gone = [*removed, *(each.size_bytes for each in self.old_unfinished)]
        waiting = [size for digest, size in self.young.items() if digest not in named]
        waiting += [each.size_bytes for each in self.young_unfinished]
        young = Young(len(waiting), sum(waiting))
        return Garbage(len(removed), len(self.old_unfinished), sum(gone), *num_purged, young)


class Collector:
    """Finds and removes garbage; may run at any time, in several processes, beside publishing and serving."""

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        *,
        grace_seconds: float = DEFAULT_GRACE_SECONDS,
        checkpoints_kept_for: timedelta = CHECKPOINTS_KEPT_FOR,
        writes: PacedWrites | None = None,
    ) -> None:
        if grace_seconds < MIN_GRACE_SECONDS:
            raise InvalidInput.of("grace_seconds", f"must be at least {MIN_GRACE_SECONDS:.0f}, not {grace_seconds:g}")
        self._database = database
        self._blobs = blobs
        self._grace_seconds = grace_seconds
        self._checkpoints_kept_for = checkpoints_kept_for
        self._writes = writes or PacedWrites(database)

    def find(self) -> Garbage:
        """Return the garbage that `collect` would remove now."""
        found = self._look()
        with self._database.read() as session:
            now = datetime.now(UTC)
            (versions, models), datasets = due(session, now), due_datasets(session, now)
            named = _named_after_purge(session, now, versions, now - self._checkpoints_kept_for)
        garbage = [size for digest, size in found.old.items() if digest not in named]
        return found.garbage(garbage, named, (len(versions), len(models), len(datasets)))

    def collect(self) -> Garbage:
        """Remove garbage and return a list of it."""
        purged = self._purge()
        # Files and rows are listed without the writer lock; only the candidates of a batch are checked under it.
        found = self._look()
        with self._database.read() as session:
            named = named_blobs(session)
        garbage = [digest for digest in found.old if digest not in named]
        removed = [digest for batch in batches(garbage, _BATCH) for digest in self._sweep(batch)]
        for each in found.old_unfinished:
            self._blobs.discard(each)
        return found.garbage([found.old[digest] for digest in removed], named, purged)

    def _purge(self) -> tuple[int, int, int]:
        """Purge due resources and drop checkpoints; return the numbers of versions, models and datasets."""
        with self._writes.write() as session:
            drop_checkpoints(session, ended_before=datetime.now(UTC) - self._checkpoints_kept_for)
        all_names: list[str] = []
        while True:
            with self._writes.write() as session:
                names = purge(session, datetime.now(UTC), _BATCH)
            if not names:
                break
            all_names += names
        num_versions = sum("/versions/" in name for name in all_names)
        num_datasets = sum(name.startswith("datasets/") for name in all_names)
        return num_versions, len(all_names) - num_versions - num_datasets, num_datasets

    def _sweep(self, digests: Sequence[str]) -> list[str]:
        """Remove the blobs of this batch that no row names now; return them."""

        def unnamed(session: Session) -> Sequence[str]:
            named = named_among(session, digests)
            return [digest for digest in digests if digest not in named]

        # No pause between the two transactions of a removal: meanwhile no publisher may name these blobs.
        self._writes.rest()
        with burying(self._database.write, unnamed) as garbage, ThreadPoolExecutor(_NUM_THREADS) as threads:
            gone = threads.map(lambda digest: self._blobs.delete(digest, before=self._oldest()), garbage)
            return [digest for digest, is_gone in zip(garbage, gone, strict=True) if is_gone]

    def _look(self) -> _Found:
        """List every file of the store, old and young apart."""
        found, oldest = _Found(), self._oldest()
        for blob in self._blobs.all():
            self._writes.check_going_on()
            (found.old if blob.put_at < oldest else found.young)[blob.digest] = blob.size_bytes
        for each in self._blobs.unfinished():
            (found.old_unfinished if each.started_at < oldest else found.young_unfinished).append(each)
        return found

    def _oldest(self) -> float:
        """Return the start of the grace period, in seconds since the epoch."""
        return time.time() - self._grace_seconds


def _named_after_purge(
    session: Session, now: datetime, purged: Collection[VersionName], ended_before: datetime
) -> set[str]:
    """Return the digests that rows will name once the due resources and the checkpoints are removed."""
    is_due, stays = VersionRow.purge_at <= now, or_(VersionRow.purge_at.is_(None), VersionRow.purge_at > now)
    of_versions = select(StageRow.digest).join(VersionRow), *(select(column) for column in VERSION_COLUMNS)
    dataset_stays = or_(DatasetRow.purge_at.is_(None), DatasetRow.purge_at > now)
    of_datasets = select(DatasetRow.digest), select(DatasetPackRow.digest).join(DatasetRow)
    checkpoints = select(JobCheckpointRow.digest).where(JobCheckpointRow.job_id.not_in(ended_jobs(ended_before)))
    others = *(query.where(dataset_stays) for query in of_datasets), checkpoints
    named = set(session.scalars(union(*(query.where(stays) for query in of_versions), *others)))
    for query in of_versions:
        rows = session.execute(query.add_columns(VersionRow.model_id, VersionRow.number).where(is_due))
        named |= {digest for digest, *version in rows if VersionName(*version) not in purged}
    return named - {None}
