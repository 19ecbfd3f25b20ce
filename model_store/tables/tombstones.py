"""Tombstones of blobs."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from model_store.tables.base import CheckedText, Row, Sequence


class TombstoneRow(Row):
    """One blob that is being removed, or, where it `is_settled`, was removed or found to be needed."""

    __tablename__ = "blob_tombstones"
    # A number is never given twice: who looked after one has seen all below it.
    __table_args__ = (Index("ix_blob_tombstones_digest", "digest"), {"sqlite_autoincrement": True})

    sequence: Mapped[int] = mapped_column(Sequence, primary_key=True, autoincrement=True)
    digest: Mapped[str] = mapped_column(CheckedText(64))
    buried_at: Mapped[datetime]
    is_settled: Mapped[bool] = mapped_column(default=False)
