"""What the files that somebody names hold to be asked about: one example a file, or one a row of a CSV file."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from maas.inference.v1.inference_pb2 import Example, Values

from maas_client.transfers.predicting import Question, Unusable


def questions_of(paths: Iterable[Path], columns: Sequence[str] = ()) -> Iterator[Question]:
    """Yield a question for each file, for the visible files below each folder, and for each row of a CSV file.

    `columns` are those of a CSV file to send, in this order, by the names in its first line; without them all are sent.
    """
    for path in paths:
        if path.is_dir():
            yield from map(_file, _files_below(path))
        elif path.suffix.lower() == ".csv":
            yield from _rows(path, columns)
        else:
            yield _file(path)


def _file(path: Path) -> Question:
    def read() -> Example:
        try:
            return Example(file=path.read_bytes())
        except OSError as error:
            raise Unusable(error.strerror or str(error)) from error

    return Question(str(path), read)


def _rows(path: Path, columns: Sequence[str]) -> Iterator[Question]:
    """Yield the rows, each named by the line that it ends in; a first line without any number is a header."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = next(reader, [])
            chosen = _positions(header, columns)
            if not columns and any(map(_is_number, header)):
                yield _row(path, 1, header, chosen)
            for cells in filter(None, reader):
                yield _row(path, reader.line_num, cells, chosen)
    except (OSError, UnicodeDecodeError, csv.Error, Unusable) as error:
        yield Question(str(path), partial(_refuse, getattr(error, "strerror", None) or str(error)))


def _row(path: Path, line: int, cells: Sequence[str], chosen: Sequence[int]) -> Question:
    return Question(f"{path}:{line}", partial(_numbers, cells, chosen))


def _numbers(cells: Sequence[str], chosen: Sequence[int]) -> Example:
    try:
        numbers = [float(cells[position]) for position in chosen] if chosen else [float(cell) for cell in cells]
    except (ValueError, IndexError) as error:
        raise Unusable(f"must have a number in each cell, not {','.join(cells)[:200]!r}") from error
    return Example(values=Values(numbers=numbers))


def _refuse(reason: str) -> Example:
    raise Unusable(reason)


def _positions(header: Sequence[str], columns: Sequence[str]) -> list[int]:
    if missing := [column for column in columns if column not in header]:
        raise Unusable(f"has no column {missing[0]!r}: the first line has {', '.join(header)}")
    return [header.index(column) for column in columns]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _files_below(folder: Path) -> Iterator[Path]:
    unreadable: list[Path] = []
    for parent, folders, names in os.walk(folder, onerror=lambda error: unreadable.append(Path(error.filename))):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths = (Path(parent, name) for name in sorted(names) if not name.startswith("."))
        yield from (path for path in paths if path.is_file())
    yield from unreadable  # as a file it cannot be read either, and is named
