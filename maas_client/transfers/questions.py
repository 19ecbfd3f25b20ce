"""What the files that somebody names hold to be asked about: one example a file, or one a row of a CSV file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from maas.inference.v1.inference_pb2 import Example, Values

from maas_client.files.row_blocks import is_table
from maas_client.files.tables import Unusable, number_rows
from maas_client.transfers.predicting import Question


def questions_of(
    paths: Iterable[Path], columns: Sequence[str] = (), rows_of: Callable[[Path], Iterator[Question]] | None = None
) -> Iterator[Question]:
    """Yield a question for each file, for the visible files below each folder, and for each row of a table.

    `columns` are those of a CSV file of numbers to send, in this order, by the names in its first line; without them
    all are sent. `rows_of` reads tables instead.
    """
    read = rows_of or partial(number_questions, columns=columns)
    for path in paths:
        if path.is_dir():
            yield from map(_file, _files_below(path))
        elif is_table(path):
            yield from read(path)
        else:
            yield _file(path)


def text_questions(texts: Iterable[str]) -> Iterator[Question]:
    """Yield a question for each text, by its number from 1."""
    for number, text in enumerate(texts, 1):
        yield Question(f"text {number}", partial(_text, text))


def _text(text: str) -> Example:
    return Example(text=text)


def _file(path: Path) -> Question:
    def read() -> Example:
        try:
            return Example(file=path.read_bytes())
        except OSError as error:
            raise Unusable(error.strerror or str(error)) from error

    return Question(str(path), read)


def number_questions(path: Path, columns: Sequence[str] = ()) -> Iterator[Question]:
    """Yield a question for each row of a CSV file of numbers."""
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
