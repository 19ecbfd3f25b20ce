"""Parquet in blocks of rows; pyarrow, of the extra `parquet`, is imported only where such a file is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from maas_client.files.blocks import Block
from maas_client.files.tables import Unusable
from model_store.extras import NotInstalled, require
from model_store.normal_form import normal_form


class ParquetTable:
    """The rows of a Parquet file, as `row_blocks.RowTable` has those of other files; a cell is its text."""

    has_header = True

    def __init__(self, path: Path) -> None:
        """Begin to read; raise Unusable where this is no table, or pyarrow is not installed."""
        self.name = str(path)
        try:
            require("parquet", f"to read {path}")
        except NotInstalled as error:
            raise Unusable(f"{error}, or save the table as CSV") from error
        import pyarrow.parquet as pq

        with self._faults():
            self._file: Any = pq.ParquetFile(path)
            self.columns: Sequence[str] = [normal_form(name) for name in self._file.schema_arrow.names]
            self._num_bytes = path.stat().st_size
        self._num_rows_read = 0

    @property
    def bytes_read(self) -> int:
        """About how many bytes of the file were read: its size, by the share of its rows."""
        return self._num_bytes * self._num_rows_read // max(1, self._file.metadata.num_rows)

    def blocks(self, num_rows: int, *, from_first_line: bool = False) -> Iterator[Block]:
        """Yield blocks of this many rows, the last one smaller; raise ValueError for `from_first_line`."""
        if from_first_line:
            raise ValueError("the names of a schema are no row")
        with self._faults():
            for batch in self._file.iter_batches(num_rows):
                columns = [_texts(name, each) for name, each in zip(self.columns, batch.columns, strict=True)]
                first = self._num_rows_read + 1
                self._num_rows_read += batch.num_rows
                yield Block(list(zip(*columns, strict=True)), range(first, first + batch.num_rows))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @contextmanager
    def _faults(self) -> Iterator[None]:
        import pyarrow as pa

        try:
            yield
        except (pa.ArrowException, OSError) as error:
            raise Unusable(f"{self.name} cannot be read as Parquet: {error}") from error


def _texts(name: str, column: Any) -> list[str]:  # noqa: ANN401  pyarrow's arrays
    import pyarrow as pa

    if pa.types.is_nested(column.type) or pa.types.is_binary(column.type):
        raise Unusable(f"column {name!r} is of the type {column.type}: a cell must be a number, a text or a date")
    return ["" if each is None else each for each in column.cast(pa.large_string()).to_pylist()]
