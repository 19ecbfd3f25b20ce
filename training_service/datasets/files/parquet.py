"""Reads Parquet row by row: columns of numbers, texts, truth values, dates and times."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from training_service.datasets.files.table_rows import MAX_CELL, CellType, TableRow, UnreadableTable, check_cells

_ROWS_AT_ONCE = 1024


class ParquetRows:
    """The rows of a Parquet file, read in small batches; texts come by their dictionary, so that none is repeated."""

    def __init__(self, file: IO[bytes]) -> None:
        """Read the schema; raise UnreadableTable naming a column of a type that is no cell, as a list or a struct."""
        with _errors():
            file.seek(0)
            schema = pq.ParquetFile(file).schema_arrow
            texts = [each.name for each in schema if _is_text(each.type)]
            file.seek(0)
            self._file = pq.ParquetFile(file, read_dictionary=texts, pre_buffer=False)
        self._names = list(schema.names)
        self._types = {place: _cell_type(each.name, each.type) for place, each in enumerate(schema)}

    @property
    def names(self) -> Sequence[str]:
        """The names of the schema."""
        return self._names

    @property
    def types(self) -> Mapping[int, CellType]:
        """The types of the schema."""
        return self._types

    @property
    def remarks(self) -> Sequence[str]:
        """None."""
        return ()

    def rows(self) -> Iterator[TableRow]:
        """Yield rows; raise UnreadableTable for damaged pages, and naming a cell that is too long."""
        number = 0
        batches = self._file.iter_batches(batch_size=_ROWS_AT_ONCE)
        while (batch := self._next(batches)) is not None:
            with _errors():
                columns = [self._texts(name, column) for name, column in zip(self._names, batch.columns, strict=True)]
            for cells in zip(*columns, strict=True):
                number += 1
                yield check_cells(TableRow(number, 0, cells), self._names)

    def detach(self) -> None:
        """Leave the file open for others; nothing holds it."""

    @staticmethod
    def _next(batches: Iterator[pa.RecordBatch]) -> pa.RecordBatch | None:
        with _errors():
            return next(batches, None)

    @staticmethod
    def _texts(name: str, column: Any) -> list[str]:  # noqa: ANN401  pyarrow's arrays
        if pa.types.is_dictionary(column.type):
            values = column.dictionary.cast(pa.large_string())
            longest = pc.max(pc.utf8_length(values)).as_py() or 0
            if longest > MAX_CELL:
                raise UnreadableTable(f"column {name[:200]!r} has a cell of {longest} characters: {MAX_CELL} at most")
            texts = [each.strip() if each is not None else "" for each in values.to_pylist()]
            return ["" if each is None else texts[each] for each in column.indices.to_pylist()]
        return ["" if each is None else each for each in column.cast(pa.large_string()).to_pylist()]


def _is_text(kind: Any) -> bool:  # noqa: ANN401  pyarrow's types
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _cell_type(name: str, kind: Any) -> CellType:  # noqa: ANN401  pyarrow's types
    types = pa.types
    if types.is_dictionary(kind):
        return _cell_type(name, kind.value_type)
    if types.is_integer(kind):
        return CellType.INTEGER
    if types.is_floating(kind) or types.is_decimal(kind):
        return CellType.NUMBER
    if types.is_boolean(kind):
        return CellType.BOOLEAN
    if types.is_date(kind) or types.is_timestamp(kind):
        return CellType.DATE
    if _is_text(kind) or types.is_null(kind) or types.is_time(kind):
        return CellType.TEXT
    raise UnreadableTable(
        f"column {name[:200]!r} is of the type {str(kind)[:200]}: a cell must be "
        "a number, a text, a truth value or a date"
    )


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise UnreadableTable("cannot be read as Parquet: it is damaged, or of a kind that is not supported") from error
