"""Reads JSON Lines row by row: one object a line, whose names are the columns."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any

from training_service.datasets.files.encodings import UnknownEncoding, detect_encoding
from training_service.datasets.files.table_rows import CellType, TableRow, UnreadableTable, check_cells

_MAX_LINE = 16 * 1024 * 1024  # characters
_MAX_COLUMNS = 100_000


class JsonRows:
    """The rows of JSON Lines; columns are the names of all objects, in the order in which they first occur."""

    def __init__(self, file: IO[bytes]) -> None:
        """Read the names of all objects; raise UnreadableTable naming the first line that is none."""
        try:
            encoding = detect_encoding(file)
        except UnknownEncoding as error:
            raise UnreadableTable(f"cannot be read as text: {error}: save it as UTF-8") from error
        self._text = io.TextIOWrapper(file, encoding=encoding.codec)
        self._said = encoding.said
        places: dict[str, int] = {}
        for _, _, values in self._objects():
            for name in values:
                places.setdefault(name, len(places))
            if len(places) > _MAX_COLUMNS:
                raise UnreadableTable(f"has more than {_MAX_COLUMNS} columns")
        self._names = list(places)

    @property
    def names(self) -> Sequence[str]:
        """The names of all objects."""
        return self._names

    @property
    def types(self) -> Mapping[int, CellType]:
        """None: values of one name may have several types."""
        return {}

    @property
    def remarks(self) -> Sequence[str]:
        """The encoding, unless it is UTF-8."""
        return [f"the file was read as {self._said}"] if self._said else []

    def rows(self) -> Iterator[TableRow]:
        """Yield rows, without empty lines; raise UnreadableTable naming a cell that is a list or an object."""
        for number, line, values in self._objects():
            row = TableRow(number, line, [])
            cells = [self._cell(row, name, values.get(name)) for name in self._names]
            yield check_cells(TableRow(number, line, cells), self._names)

    def detach(self) -> None:
        """Leave the file open for others."""
        self._text.detach()

    def _objects(self) -> Iterator[tuple[int, int, Mapping[str, Any]]]:
        """Yield the number, the line and the values of each row, from the first one on."""
        self._text.seek(0)
        number = 0
        for line, text in enumerate(self._lines(), start=1):
            if not text.strip():
                continue
            number += 1
            yield number, line, self._object(text, f"row {number} (line {line})")

    def _lines(self) -> Iterator[str]:
        try:
            while line := self._text.readline(_MAX_LINE):
                if len(line) == _MAX_LINE and not line.endswith("\n"):
                    raise UnreadableTable(f"a line has over {_MAX_LINE} characters: write one object a line")
                yield line
        except UnicodeError as error:
            raise UnreadableTable("cannot be read as text: save it as UTF-8") from error

    @staticmethod
    def _object(text: str, place: str) -> Mapping[str, Any]:
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            reason = f"{error.msg} (character {error.pos + 1})" if isinstance(error, json.JSONDecodeError) else ""
            raise UnreadableTable(f"{place} is no JSON: {reason or 'its numbers or lists are too long'}") from error
        if not isinstance(values, dict):
            raise UnreadableTable(f"{place} must be one JSON object: write one object a line")
        return values

    @staticmethod
    def _cell(row: TableRow, name: str, value: object) -> str:
        if value is None:
            return ""
        if isinstance(value, str):
            return value.strip()
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, int | float):
            return repr(value)
        raise UnreadableTable(
            f"{row.place}, column {name[:200]!r}: must be a text, a number, true, false or null, "
            "not a list or an object"
        )
