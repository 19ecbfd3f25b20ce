"""Garbage collection: blobs that no version and no dataset names, and what a killed writer left half-written.

Mark and sweep. Safe beside publishing, for two reasons. What is younger than the grace period is left alone, and
putting a blob that exists makes it young again. And a sweep takes its turn among the writers: a version's blobs are
looked at and its row inserted either before the marks are read, or after the sweep, and then publishing says which
blob is missing.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from sqlalchemy import select, union
from sqlalchemy.orm import Session

from model_store.blobs import BlobStore, UnfinishedBlob
from model_store.changes import take_turn
from model_store.database import Database
from model_store.errors import InvalidInput
from model_store.tables import DatasetPackRow, DatasetRow, StageRow, VersionRow

MIN_GRACE_SECONDS = 60.0
DEFAULT_GRACE_SECONDS = 24 * 3600.0


@dataclass(frozen=True)
class Garbage:
    """What nobody needs: blobs that nothing names, temporary files that nobody writes to, and their bytes."""

    num_blobs: int
    num_unfinished: int
    size_bytes: int


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
            named = _named(session)
        return _total([size for digest, size in blobs.items() if digest not in named], unfinished)

    def collect(self) -> Garbage:
        """Remove garbage and say what it was; running it again removes nothing more."""
        # The long look at the disk comes before the turn: writers wait only while the few that are left are removed.
        candidates, unfinished = self._old_blobs(), self._old_unfinished()
        with self._database.write() as session:
            take_turn(session)
            named = _named(session)
            garbage = {digest: size for digest, size in candidates.items() if digest not in named}
            removed = [size for digest, size in garbage.items() if self._blobs.delete(digest, before=self._oldest())]
        for each in unfinished:
            self._blobs.discard(each)
        return _total(removed, unfinished)

    def _old_blobs(self) -> dict[str, int]:
        return {blob.digest: blob.size_bytes for blob in self._blobs.all() if blob.put_at < self._oldest()}

    def _old_unfinished(self) -> list[UnfinishedBlob]:
        return [each for each in self._blobs.unfinished() if each.started_at < self._oldest()]

    def _oldest(self) -> float:
        """Return the time, in seconds since the epoch, before which a file is too old to be in use by a writer."""
        return time.time() - self._grace_seconds


def _total(blobs: list[int], unfinished: list[UnfinishedBlob]) -> Garbage:
    return Garbage(len(blobs), len(unfinished), sum(blobs) + sum(each.size_bytes for each in unfinished))


def _named(session: Session) -> set[str]:
    """Return the digest of every blob that a row names."""
    columns = (VersionRow.manifest_digest, StageRow.digest, DatasetRow.digest, DatasetPackRow.digest)
    return set(session.scalars(union(*(select(column) for column in columns))))
