"""The register of datasets: each names a manifest blob by its digest and is never changed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.orm import selectinload

from model_store.blobs import BlobStore
from model_store.changes import append_change, take_turn
from model_store.database import Database
from model_store.errors import AlreadyExists, DatasetNotFound
from model_store.names import dataset_name
from model_store.paging import Page, PageRequest, cut, decode_token
from model_store.records import Dataset
from model_store.tables import DatasetPackRow, DatasetRow


class DatasetStore:
    """Datasets by id; safe to share between threads and processes."""

    def __init__(self, database: Database, blobs: BlobStore) -> None:
        self._database = database
        self._blobs = blobs

    def register(self, dataset: Dataset) -> Dataset:
        """Insert a dataset whose blobs are stored; the same id and digest again return the first.

        Raises AlreadyExists where the id has other content, and MissingBlob where a blob is not stored (any more).
        """
        with self._database.write() as session:
            if (row := session.get(DatasetRow, dataset.id)) is not None:
                if row.digest != dataset.digest:
                    raise AlreadyExists(f"{dataset.name} exists with other content: choose another id")
                return row.record()
            # Looked at while no collector can run: what is there now stays there, as the rows will name it.
            take_turn(session)
            self._blobs.sizes([dataset.digest, *dataset.packs])
            dataset = replace(dataset, created_at=datetime.now(UTC))
            values = ("id", "digest", "parent_id", "num_rows", "size_bytes", "created_at")
            packs = [DatasetPackRow(digest=digest) for digest in sorted(set(dataset.packs))]
            row = DatasetRow(
                summary=dict(dataset.summary), packs=packs, **{key: getattr(dataset, key) for key in values}
            )
            session.add(row)
            append_change(session, "dataset_registered", dataset.name)
            return row.record()

    def exists(self, dataset_id: str) -> bool:
        """Say whether the id is taken."""
        with self._database.read() as session:
            return session.get(DatasetRow, dataset_id) is not None

    def get(self, dataset_id: str) -> Dataset:
        """Return one dataset; raise DatasetNotFound."""
        with self._database.read() as session:
            row = session.get(DatasetRow, dataset_id)
            if row is None:
                raise DatasetNotFound(f"{dataset_name(dataset_id)} does not exist; `maas datasets` lists those that do")
            return row.record()

    def list(self, request: PageRequest) -> Page[Dataset]:
        """Return a page of datasets by id."""
        after = decode_token("datasets", request.token, str)
        query = (
            select(DatasetRow).order_by(DatasetRow.id).limit(request.limit + 1).options(selectinload(DatasetRow.packs))
        )
        if after is not None:
            query = query.where(DatasetRow.id > after)
        with self._database.read() as session:
            datasets = [row.record() for row in session.scalars(query)]
        return cut("datasets", datasets, [dataset.id for dataset in datasets], request.limit)
