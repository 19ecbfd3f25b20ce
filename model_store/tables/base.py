"""The base of all tables."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Dialect, Integer, MetaData, String, Text, TypeDecorator
from sqlalchemy import types as sql_types
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from model_store.errors import InvalidInput
from model_store.names import VersionName
from model_store.records.resources import Timestamps
from model_store.texts import cut_text, is_storable, storable

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


class CheckedText(TypeDecorator[str]):
    """A text that is kept as it is; InvalidInput where a database could not, or it is longer than the column.

    Requests are checked before, under the names of their fields: this holds for every other way into the store.
    """

    impl = String
    cache_ok = True
    field = "text"
    """The column's name, which `tables` sets."""

    def __init__(self, length: int | None = None) -> None:
        super().__init__()
        self.length = length
        self.impl = Text() if length is None else String(length)  # type: ignore[assignment]  # an instance is legal

    def coerce_compared_value(self, op: object, value: object) -> CheckedText:  # noqa: ARG002
        """Compare with a text of any length: a longer one is found nowhere."""
        compared = CheckedText()
        compared.field = self.field
        return compared

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Return the same text; raise InvalidInput."""
        if value is not None and not is_storable(value):
            raise InvalidInput.of(self.field, "must not hold NUL or halves of characters")
        if value is not None and self.length is not None and len(value) > self.length:
            raise InvalidInput.of(self.field, f"must have at most {self.length} characters, not {len(value)}")
        return value


class CutText(TypeDecorator[str]):
    """A text of the store's own, such as a reason; a longer one is cut to this length."""

    impl = String
    cache_ok = True

    def __init__(self, length: int, *, is_bounded: bool = True) -> None:
        """Take whether the column has the bound too."""
        super().__init__()
        self.length = length
        self.is_bounded = is_bounded
        self.impl = String(length) if is_bounded else Text()  # type: ignore[assignment]  # as above

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Return the text, cut to the column."""
        return cut_text(value, self.length) if value is not None else None


class Json(TypeDecorator[Any]):
    """JSON that every database keeps and every reader takes: halves of characters are replaced, and NaN is null."""

    impl = JSON(none_as_null=True)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:  # noqa: ANN401, ARG002  any JSON
        """Return the text without characters that a database refuses."""
        return _storable_json(value)


def _storable_json(value: Any) -> Any:  # noqa: ANN401  any JSON
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {_storable_json(key): _storable_json(each) for key, each in value.items()}
    return [_storable_json(each) for each in value] if isinstance(value, list | tuple) else value


class Row(DeclarativeBase):
    """Base of all rows."""

    metadata = MetaData(naming_convention=_NAMING)
    type_annotation_map = {datetime: UtcDateTime, dict[str, Any]: Json, list[Any]: Json}  # noqa: RUF012  SQLAlchemy's form


class TimestampedRow:
    """The columns of a resource that people write notes on, and that is deleted in two steps."""

    description: Mapped[str] = mapped_column(CheckedText(), default="")
    revision: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]
    purge_at: Mapped[datetime | None]

    def timestamps(self) -> Timestamps:
        """Return when it came, changed and went."""
        return Timestamps(str(self.revision), self.created_at, self.updated_at, self.deleted_at, self.purge_at)


def version_name(model_id: str | None, number: int | None) -> VersionName | None:
    """Return the version that two columns name, if they do."""
    return VersionName(model_id, number) if model_id is not None and number is not None else None
