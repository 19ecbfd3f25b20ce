"""What all tables have in common."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Dialect, Integer, MetaData, Text, TypeDecorator
from sqlalchemy import types as sql_types
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from model_store.names import VersionName
from model_store.records import Life

# Named constraints, so that a migration can drop one on every database.
_NAMING = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
# SQLite counts a rowid only in an INTEGER column.
Sequence = BigInteger().with_variant(Integer, "sqlite")


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC; SQLite forgets the zone, so it is put back on reading."""

    impl = sql_types.DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Return the moment with its zone."""
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


class Row(DeclarativeBase):
    """Base of all rows."""

    metadata = MetaData(naming_convention=_NAMING)
    type_annotation_map = {datetime: UtcDateTime, dict[str, Any]: JSON, list[Any]: JSON}  # noqa: RUF012  SQLAlchemy's form


class Kept:
    """The columns of a resource that people write notes on, and that is deleted in two steps."""

    description: Mapped[str] = mapped_column(Text, default="")
    revision: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]
    purge_at: Mapped[datetime | None]

    def life(self) -> Life:
        """Return when it came, changed and went."""
        return Life(str(self.revision), self.created_at, self.updated_at, self.deleted_at, self.purge_at)


def version_name(model_id: str | None, number: int | None) -> VersionName | None:
    """Return the version that two columns name, if they do."""
    return VersionName(model_id, number) if model_id is not None and number is not None else None
