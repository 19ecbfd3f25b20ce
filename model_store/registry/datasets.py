"""The register of datasets: each names a manifest blob by its digest, and its rows never change."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from model_store.blobs import BlobStore
from model_store.database.engine import Database
from model_store.database.paging import Page, cut
from model_store.errors import AlreadyExists
from model_store.records.changes import ChangeKind
from model_store.records.resources import Dataset
from model_store.tables import DatasetPackRow, DatasetRow
from model_store.transactions import deletion
from model_store.transactions.changes import append_change, take_writer_lock
from model_store.transactions.listings import ListRequest, datasets_listing
from model_store.transactions.resource_rows import check_etag, dataset_row, living_dataset_row
from model_store.transactions.tombstones import check_kept, look_at


class DatasetStore:
    """Datasets by id; safe to share between threads and processes."""

    def __init__(self, database: Database, blobs: BlobStore) -> None:
        self._database = database
        self._blobs = blobs

    def register(self, dataset: Dataset, *, principal: str = "") -> Dataset:
        """Insert a dataset whose blobs are stored; the same id and digest again return the first.

        A purged dataset comes back this way. Raises AlreadyExists if the id has, or had, other content; IllegalState if
        it was deleted; MissingBlob if a blob is not stored; Conflict while a blob is being collected.
        """
        with self._database.read() as session:
            if (registered := _registered(session, dataset)) is not None:
                return registered
        # Before the transaction: others do not wait while an object store answers.
        seen = look_at(self._database, self._blobs, [dataset.digest, *dataset.packs])
        with self._database.write(principal) as session:
            take_writer_lock(session)
            if (registered := _registered(session, dataset)) is not None:
                return registered
            check_kept(session, seen)
            dataset = replace(dataset, created_at=datetime.now(UTC))
            values = ("id", "digest", "parent_id", "num_rows", "size_bytes", "created_at", "deleted_at", "purge_at")
            packs = [DatasetPackRow(digest=digest) for digest in sorted(set(dataset.packs))]
            row = session.merge(
                DatasetRow(
                    summary=dict(dataset.summary),
                    packs=packs,
                    is_purged=False,
                    principal=principal,
                    **{key: getattr(dataset, key) for key in values},
                )
            )
            append_change(session, ChangeKind.DATASET_REGISTERED, dataset.name)
            session.flush()
            return row.record()

    def check_free(self, dataset_id: str) -> None:
        """Raise AlreadyExists for a used id, IllegalState for the id of a deleted dataset; a purged id is unknown."""
        with self._database.read() as session:
            row = session.get(DatasetRow, dataset_id)
            if row is not None and not row.is_purged:
                name = living_dataset_row(session, dataset_id).record().name
                raise AlreadyExists(f"{name} exists: a dataset never changes, choose another id")

    def get(self, dataset_id: str) -> Dataset:
        """Return one dataset, a deleted one too; raise DatasetNotFound."""
        with self._database.read() as session:
            return dataset_row(session, dataset_id).record()

    def living(self, dataset_id: str) -> Dataset:
        """Return one dataset to use it; raise DatasetNotFound, or IllegalState where it was deleted."""
        with self._database.read() as session:
            return living_dataset_row(session, dataset_id).record()

    def living_of_digest(self, digest: str) -> tuple[Dataset, ...]:
        """Return the datasets with just this content that were not deleted, the oldest first."""
        query = select(DatasetRow).where(DatasetRow.digest == digest, DatasetRow.deleted_at.is_(None))
        query = query.where(DatasetRow.is_purged.is_(False)).order_by(DatasetRow.created_at, DatasetRow.id)
        with self._database.read() as session:
            return tuple(row.record() for row in session.scalars(query))

    def delete(
        self,
        dataset_id: str,
        kept_for: timedelta = deletion.KEPT_FOR,
        *,
        etag: str | None = None,
        principal: str = "",
    ) -> Dataset:
        """Hide a dataset until it is undeleted or purged; versions that were made from it stay.

        Raises DatasetNotFound, Conflict for another etag, and IllegalState for a deleted dataset, or naming the
        unfinished jobs that train on it.
        """
        with self._database.write(principal) as session:
            take_writer_lock(session)
            row = living_dataset_row(session, dataset_id)
            check_etag(row, row.record().name, etag)
            deletion.delete_dataset(session, row, kept_for)
            return row.record()

    def undelete(self, dataset_id: str, *, principal: str = "") -> Dataset:
        """Bring a deleted dataset back; raise DatasetNotFound or IllegalState."""
        with self._database.write(principal) as session:
            take_writer_lock(session)
            row = dataset_row(session, dataset_id)
            deletion.undelete_dataset(session, row)
            return row.record()

    def list(self, request: ListRequest) -> Page[Dataset]:
        """Return a page of datasets, by id where nothing else is asked; raise InvalidInput."""
        listing = datasets_listing(request)
        with self._database.read() as session:
            rows = list(session.scalars(listing.query))
            datasets = [row.record() for row in rows]
        return cut(listing.name, datasets, [listing.keys(row) for row in rows], request.page.limit)


def _registered(session: Session, dataset: Dataset) -> Dataset | None:
    """Return an equal existing dataset; raise AlreadyExists, or IllegalState if it was deleted."""
    row = session.get(DatasetRow, dataset.id)
    if row is not None and row.digest != dataset.digest:
        had = "had other content before it was purged" if row.is_purged else "exists with other content"
        raise AlreadyExists(f"{dataset.name} {had}: choose another id")
    return living_dataset_row(session, dataset.id).record() if row is not None and not row.is_purged else None
