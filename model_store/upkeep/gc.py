"""Garbage collection: what was deleted and is due, blobs that no row names, and what a killed writer left half-written.

Mark and sweep. Safe beside publishing, for two reasons. What is younger than the grace period is left alone, and
putting a blob that exists makes it young again. And a sweep takes its turn among the writers: a version's blobs are
looked at and its row inserted either before the marks are read, or after the sweep, and then publishing says which
blob is missing.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import or_, select, union
from sqlalchemy.orm import Session

from model_store.blobs import BlobStore, UnfinishedBlob
from model_store.changes import take_turn
from model_store.database import Database
from model_store.deletion import due, due_datasets, purge
from model_store.errors import InvalidInput
from model_store.job_rows import drop_checkpoints
from model_store.names import VersionName
from model_store.tables import DatasetPackRow, DatasetRow, JobCheckpointRow, StageRow, VersionRow
from model_store.upkeep.references import VERSION_COLUMNS, batches, named_among, named_blobs

MIN_GRACE_SECONDS = 60.0
DEFAULT_GRACE_SECONDS = 24 * 3600.0
CHECKPOINTS_KEPT_FOR = timedelta(days=7)
"""How long a job that failed, or was cancelled, can be tried again from where it was."""
_BATCH = 200  # how much is removed in one turn: other writers wait for no more than that
_NUM_THREADS = 8  # an object store answers slowly, but many at once


@dataclass(frozen=True)
class Garbage:
    """What nobody needs: blobs that nothing names, temporary files that nobody writes to, and their bytes.

    `num_versions`, `num_models` and `num_datasets` were deleted, and their time to come back is over.
    """

    num_blobs: int
    num_unfinished: int
    size_bytes: int
    num_versions: int = 0
    num_models: int = 0
    num_datasets: int = 0


class Collector:
    """Finds garbage and removes it; may run at any time, also twice at once, also beside publishing and serving."""

    def __init__(self, database: Database, blobs: BlobStore, *, grace_seconds: float = DEFAULT_GRACE_SECONDS) -> None:
        if grace_seconds < MIN_GRACE_SECONDS:
            raise InvalidInput.of("grace_seconds", f"must be at least {MIN_GRACE_SECONDS:.0f}, not {grace_seconds:g}")
        self._database = database
        self._blobs = blobs
        self._grace_seconds = grace_seconds

    def find(self) -> Garbage:
        """Say what `collect` would remove now."""
        blobs, unfinished = self._old_blobs(), self._old_unfinished()
        with self._database.read() as session:
            now = datetime.now(UTC)
            (versions, models), datasets = due(session, now), due_datasets(session, now)
            named = _named_after_purge(session, now, versions) if versions or datasets else named_blobs(session)
        garbage = [size for digest, size in blobs.items() if digest not in named]
        return _total(garbage, unfinished, (len(versions), len(models), len(datasets)))

    def collect(self) -> Garbage:
        """Remove garbage and say what it was; running it again removes nothing more."""
        purged = self._purge()
        # The long looks at the disk and at all rows come before the turn: only few blobs are looked at again within it.
        candidates, unfinished = self._old_blobs(), self._old_unfinished()
        with self._database.read() as session:
            named = named_blobs(session)
        garbage = [digest for digest in candidates if digest not in named]
        removed = [digest for batch in batches(garbage, _BATCH) for digest in self._sweep(batch)]
        for each in unfinished:
            self._blobs.discard(each)
        return _total([candidates[digest] for digest in removed], unfinished, purged)

    def _purge(self) -> tuple[int, int, int]:
        """Purge what is due, and let checkpoints go; say how many versions, models and datasets that were."""
        with self._database.write() as session:
            drop_checkpoints(session, ended_before=datetime.now(UTC) - CHECKPOINTS_KEPT_FOR)
        all_names: list[str] = []
        while True:
            with self._database.write() as session:
                names = purge(session, datetime.now(UTC), _BATCH)
            if not names:
                break
            all_names += names
        num_versions = sum("/versions/" in name for name in all_names)
        num_datasets = sum(name.startswith("datasets/") for name in all_names)
        return num_versions, len(all_names) - num_versions - num_datasets, num_datasets

    def _sweep(self, digests: Sequence[str]) -> list[str]:
        """Remove those of a few blobs that no row names now, in one turn; return them."""
        # The threads end before the turn does, whatever happens.
        with self._database.write() as session, ThreadPoolExecutor(_NUM_THREADS) as threads:
            take_turn(session)
            named = named_among(session, digests)
            garbage = [digest for digest in digests if digest not in named]
            gone = threads.map(lambda digest: self._blobs.delete(digest, before=self._oldest()), garbage)
            return [digest for digest, is_gone in zip(garbage, gone, strict=True) if is_gone]

    def _old_blobs(self) -> dict[str, int]:
        return {blob.digest: blob.size_bytes for blob in self._blobs.all() if blob.put_at < self._oldest()}

    def _old_unfinished(self) -> list[UnfinishedBlob]:
        return [each for each in self._blobs.unfinished() if each.started_at < self._oldest()]

    def _oldest(self) -> float:
        """Return the time, in seconds since the epoch, before which a file is too old to be in use by a writer."""
        return time.time() - self._grace_seconds


def _total(blobs: Sequence[int], unfinished: Sequence[UnfinishedBlob], num_purged: tuple[int, int, int]) -> Garbage:
    size_bytes = sum(blobs) + sum(each.size_bytes for each in unfinished)
    return Garbage(len(blobs), len(unfinished), size_bytes, *num_purged)


def _named_after_purge(session: Session, now: datetime, purged: Collection[VersionName]) -> set[str]:
    """Return the digests that rows will name once these versions, of those that are due, are gone."""
    is_due, stays = VersionRow.purge_at <= now, or_(VersionRow.purge_at.is_(None), VersionRow.purge_at > now)
    of_versions = select(StageRow.digest).join(VersionRow), *(select(column) for column in VERSION_COLUMNS)
    dataset_stays = or_(DatasetRow.purge_at.is_(None), DatasetRow.purge_at > now)
    of_datasets = select(DatasetRow.digest), select(DatasetPackRow.digest).join(DatasetRow)
    others = *(query.where(dataset_stays) for query in of_datasets), select(JobCheckpointRow.digest)
    named = set(session.scalars(union(*(query.where(stays) for query in of_versions), *others)))
    for query in of_versions:
        rows = session.execute(query.add_columns(VersionRow.model_id, VersionRow.number).where(is_due))
        named |= {digest for digest, *version in rows if VersionName(*version) not in purged}
    return named - {None}
