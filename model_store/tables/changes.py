"""The change feed."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Mapped, mapped_column

from model_store.records.changes import Change
from model_store.tables.base import CheckedText, Row, Sequence
from model_store.texts import MAX_PRINCIPAL


class ChangeRow(Row):
    """One entry of the change feed, in the order of commits, or the mark up to which entries were pruned."""

    __tablename__ = "changes"

    sequence: Mapped[int] = mapped_column(Sequence, primary_key=True, autoincrement=True)
    kind: Mapped[str] = mapped_column(CheckedText(32))
    resource: Mapped[str] = mapped_column(CheckedText(200))
    principal: Mapped[str] = mapped_column(CheckedText(MAX_PRINCIPAL), default="")
    created_at: Mapped[datetime]

    def record(self) -> Change:
        """Return the change."""
        return Change(self.sequence, self.kind, self.resource, self.created_at, self.principal)
