"""Datasets and their blobs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column, relationship

from model_store.records.resources import Dataset
from model_store.tables.base import CheckedText, Row
from model_store.texts import MAX_PRINCIPAL


class DatasetRow(Row):
    """One dataset; a purged dataset keeps its row, because lineages and jobs name it."""

    __tablename__ = "datasets"

    id: Mapped[str] = mapped_column(CheckedText(63), primary_key=True)
    digest: Mapped[str] = mapped_column(CheckedText(64), index=True)
    parent_id: Mapped[str | None] = mapped_column(CheckedText(63))
    num_rows: Mapped[int]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    summary: Mapped[dict[str, Any]]
    revision: Mapped[int] = mapped_column(default=1)
    principal: Mapped[str] = mapped_column(CheckedText(MAX_PRINCIPAL), default="")
    created_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]
    purge_at: Mapped[datetime | None]
    is_purged: Mapped[bool] = mapped_column(default=False)
    packs: Mapped[list[DatasetPackRow]] = relationship(order_by="DatasetPackRow.digest", cascade="all, delete-orphan")

    def record(self) -> Dataset:
        """Return the dataset."""
        packs = tuple(row.digest for row in self.packs)
        return Dataset(
            id=self.id,
            digest=self.digest,
            packs=packs,
            num_rows=self.num_rows,
            size_bytes=self.size_bytes,
            summary=self.summary,
            created_at=self.created_at,
            parent_id=self.parent_id,
            deleted_at=self.deleted_at,
            purge_at=self.purge_at,
            etag=str(self.revision),
            principal=self.principal,
        )


class DatasetPackRow(Row):
    """One blob of a dataset's rows, besides its manifest; the collector marks it."""

    __tablename__ = "dataset_packs"

    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"), primary_key=True)
    digest: Mapped[str] = mapped_column(CheckedText(64), primary_key=True)
