"""The rows of a CSV file as cells by column."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from maas_client.files.tables import Unusable


def rows_in(file: Path) -> Sequence[tuple[str, Callable[[], dict[str, str]]]]:
    """Return the name of each row and what reads it, its cells by column; raise Unusable where there is none."""
    if file.suffix.lower() != ".csv":
        raise Unusable(f"must be a CSV file, which {file} is not")
    rows = list(cell_rows(file))
    if not rows:
        raise Unusable(f"there are no rows in {file}")
    return rows


def cell_rows(file: Path) -> Iterator[tuple[str, Callable[[], dict[str, str]]]]:
    """Yield the name of each row and what reads it; raise Unusable where the file cannot be read."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as text:
            reader = csv.DictReader(text, strict=True)
            for cells in reader:
                yield f"{file}:{reader.line_num}", partial(_whole, cells)
    except OSError as error:
        raise Unusable(error.strerror or str(error)) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise Unusable(f"is no CSV file: {error}") from error


def _whole(cells: dict[str, str]) -> dict[str, str]:
    if None in cells or None in cells.values():
        raise Unusable("has not as many cells as the first line")
    return cells
