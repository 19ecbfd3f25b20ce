"""Repairs blobs that a check found missing or corrupt, by quarantine and copies from a second store."""

from __future__ import annotations

from dataclasses import replace

from model_store.blobs import BlobStore
from model_store.database.engine import Database
from model_store.errors import CorruptBlob, MissingBlob
from model_store.transactions.tombstones import burying
from model_store.upkeep.findings import Kind, Problem, Repair, Report

_NO_SOURCE = "not fetched again: name a second store or a backup with --from"


class Repairer:
    """Moves corrupt blobs to quarantine and fetches missing ones; deletes nothing and changes no row."""

    def __init__(self, database: Database, blobs: BlobStore, source: BlobStore | None = None) -> None:
        """Repair one store from a second store with the same blobs."""
        self._database = database
        self._blobs = blobs
        self._source = source

    def repair(self, report: Report) -> Report:
        """Return the report with the repair of each problem."""
        return replace(report, problems=tuple(self._repaired(problem) for problem in report.problems))

    def _repaired(self, problem: Problem) -> Problem:
        if problem.kind is Kind.CORRUPT_BLOB:
            return replace(problem, repair=self._repair_corrupt(problem))
        if problem.kind is Kind.MISSING_BLOB:
            return replace(problem, repair=self._fetch(problem.digest))
        return problem

    def _repair_corrupt(self, problem: Problem) -> Repair:
        if (place := self._move_aside(problem.digest)) is None:
            return Repair(is_done=True, text="it was published again meanwhile")
        moved = f"moved to {place}"
        if not problem.needed_by:
            return Repair(is_done=True, text=moved)
        fetched = self._fetch(problem.digest)
        return Repair(fetched.is_done, f"{moved}; {fetched.text}")

    def _move_aside(self, digest: str) -> str | None:
        """Move a corrupt blob to quarantine and return its place; return None if it has become whole.

        A publisher of the same bytes either replaces the blob before it is read here, or gets Conflict.
        """
        with burying(self._database.write, lambda _: [digest]):
            try:
                self._blobs.verify(digest)
            except CorruptBlob:
                return self._blobs.quarantine(digest)
            except MissingBlob:
                return "nowhere: it is gone meanwhile"
            return None

    def _fetch(self, digest: str) -> Repair:
        if self._source is None:
            return Repair(is_done=False, text=_NO_SOURCE)
        try:
            with self._source.map(digest) as data, memoryview(data) as view:
                self._blobs.put([view], digest)
        except MissingBlob:
            return Repair(is_done=False, text="not fetched again: the source does not have it either")
        except CorruptBlob:
            return Repair(is_done=False, text="not fetched again: the source's copy is corrupt, too")
        return Repair(is_done=True, text="fetched again")
