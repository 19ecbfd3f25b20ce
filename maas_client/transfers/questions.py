"""What the files that somebody names hold to be asked about: one example a file, or one a row of a CSV file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from maas.inference.v1.inference_pb2 import Example, Values

from maas_client.files.tables import Unusable, number_rows
from maas_client.transfers.predicting import Question


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
    try:
        for name, read in number_rows(path, columns):
            yield Question(name, partial(_row, read))
    except Unusable as error:
        yield Question(str(path), partial(_refuse, error))


def _row(read: Callable[[], Sequence[float]]) -> Example:
    return Example(values=Values(numbers=read()))


def _refuse(error: Unusable) -> Example:
    raise error


def _files_below(folder: Path) -> Iterator[Path]:
    unreadable: list[Path] = []
    for parent, folders, names in os.walk(folder, onerror=lambda error: unreadable.append(Path(error.filename))):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths = (Path(parent, name) for name in sorted(names) if not name.startswith("."))
        yield from (path for path in paths if path.is_file())
    yield from unreadable  # as a file it cannot be read either, and is named
