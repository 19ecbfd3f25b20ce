"""Leases on work that one process at a time should do."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Mapped, mapped_column

from model_store.tables.base import CheckedText, Row


class LeaseRow(Row):
    """One kind of work: who does it, until when that one is believed to live, and when the work was last done."""

    __tablename__ = "leases"

    work: Mapped[str] = mapped_column(CheckedText(63), primary_key=True)
    owner: Mapped[str | None] = mapped_column(CheckedText(200))
    expires_at: Mapped[datetime | None]
    done_at: Mapped[datetime | None]
