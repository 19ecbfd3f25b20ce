"""CSV files: their columns, and their rows of numbers."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path

from model_store.normal_form import normal_form

_SEPARATORS = ",;\t"
UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_MAX_LINE = 16 * 1024 * 1024  # characters


class Unusable(Exception):
    """What somebody names cannot be read as an example; the text says why."""


def column_names(path: Path) -> list[str]:
    """Return the names in a CSV file's first line, as the training service reads them.

    Empty where they cannot be read: the service says why. Raises OSError.
    """
    with path.open("rb") as raw:
        encoding = "utf-16" if raw.read(2) in UTF16 else "utf-8-sig"
    try:
        with path.open(newline="", encoding=encoding) as file:
            separator = max(_SEPARATORS, key=file.readline(_MAX_LINE).count)
            file.seek(0)
            names = next(csv.reader(file, delimiter=separator, strict=True), [])
    except (UnicodeError, csv.Error):
        return []
    return [normal_form(name.strip()) for name in names]


def number_rows(path: Path, columns: Sequence[str] = ()) -> Iterator[tuple[str, Callable[[], list[float]]]]:
    """Yield each row's name, `FILE:LINE`, and what reads its numbers; that may raise Unusable.

    A first line without any number is a header. `columns` are those of the header to read, in this order; without them
    all are. Raises Unusable where the file cannot be read, or has no such column.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = next(reader, [])
            if not columns:
                _check_no_texts(path, header)
            chosen = _positions(header, columns)
            if not columns and any(map(is_number, header)):
                yield f"{path}:1", partial(_numbers, header, [], chosen)
                header = []
            for cells in filter(None, reader):
                yield f"{path}:{reader.line_num}", partial(_numbers, cells, header, chosen)
    except OSError as error:
        raise Unusable(error.strerror or str(error)) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise Unusable(f"is no CSV file: {error}") from error


def _check_no_texts(path: Path, header: Sequence[str]) -> None:
    """Raise Unusable where a column has text in each row: it holds labels, or names the rows."""
    if any(map(is_number, header)):
        return
    texts = set(range(len(header)))
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = filter(None, csv.reader(file))
        next(rows, None)
        if (first := next(rows, None)) is None:
            return
        for cells in chain([first], rows):
            texts = {position for position in texts if position < len(cells) and not is_number(cells[position])}
            if not texts:
                return
    numbers = ",".join(name for position, name in enumerate(header) if position not in texts)
    names = ", ".join(header[position] for position in sorted(texts))
    raise Unusable(f"has text in the column {names}: say which columns to send, such as --columns {numbers}")


def _numbers(cells: Sequence[str], header: Sequence[str], chosen: Sequence[int]) -> list[float]:
    positions = chosen or range(len(cells))
    if missing := [position for position in positions if position >= len(cells)]:
        raise Unusable(f"has no cell in {_column(header, missing[0])}")
    if wrong := [position for position in positions if not is_number(cells[position])]:
        place = _column(header, wrong[0])
        raise Unusable(f"must have a number in each cell, not {cells[wrong[0]][:200]!r} in {place}")
    return [float(cells[position]) for position in positions]


def _column(header: Sequence[str], position: int) -> str:
    return f"column {header[position]!r}" if position < len(header) else f"column {position + 1}"


def _positions(header: Sequence[str], columns: Sequence[str]) -> list[int]:
    if missing := [column for column in columns if column not in header]:
        raise Unusable(f"has no column {missing[0]!r}: the first line has {', '.join(header)}")
    return [header.index(column) for column in columns]


def is_number(cell: str) -> bool:
    """Say whether a cell is a number."""
    try:
        float(cell)
    except ValueError:
        return False
    return True
