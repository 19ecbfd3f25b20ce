"""Models and their tags."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column, relationship

from model_store.records.resources import Model, Notes
from model_store.tables.base import CheckedText, Row, TimestampedRow

if TYPE_CHECKING:
    from model_store.tables.aliases import AliasRow


class ModelRow(TimestampedRow, Row):
    """A model and the counter of its versions; a purged model keeps its row, so that no number is given twice."""

    __tablename__ = "models"

    id: Mapped[str] = mapped_column(CheckedText(63), primary_key=True)
    last_number: Mapped[int] = mapped_column(default=0)
    is_purged: Mapped[bool] = mapped_column(default=False)
    tags: Mapped[list[ModelTagRow]] = relationship(order_by="ModelTagRow.key", cascade="all, delete-orphan")
    aliases: Mapped[list[AliasRow]] = relationship(order_by="AliasRow.alias", viewonly=True)

    def record(self) -> Model:
        """Return the model."""
        notes = Notes(self.description, {row.key: row.value for row in self.tags})
        return Model(self.id, self.last_number, notes, self.timestamps(), tuple(row.record() for row in self.aliases))


class ModelTagRow(Row):
    """One tag of a model."""

    __tablename__ = "model_tags"
    __table_args__ = (Index("ix_model_tags_key", "key", "value", "model_id"),)

    model_id: Mapped[str] = mapped_column(ForeignKey("models.id"), primary_key=True)
    key: Mapped[str] = mapped_column(CheckedText(63), primary_key=True)
    value: Mapped[str] = mapped_column(CheckedText(255))
