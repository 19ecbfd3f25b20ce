"""Progress bars for bytes, for rows and for shares, on standard error and for a terminal alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from maas_client.views.output import notes


@contextmanager
def byte_bar(description: str, total: int, *, then: str) -> Iterator[Callable[[int], None]]:
    """Show how many of `total` bytes are done, then what is waited for; yields what is to be told of more bytes."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=notes, transient=True, disable=not notes.is_terminal) as bar:
        task = bar.add_task(description, total=total)

        def advance(num_bytes: int) -> None:
            bar.advance(task, num_bytes)
            if bar.tasks[task].completed >= total:
                bar.update(task, description=then)

        yield advance


@contextmanager
def row_bar(description: str, num_bytes: int) -> Iterator[Callable[[int, int], None]]:
    """Show how many rows are done, and how much of a file; yields what is to be told of both numbers."""
    count = TextColumn("{task.fields[rows]:,} rows")
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), count, TimeRemainingColumn())
    with Progress(*columns, console=notes, transient=True, disable=not notes.is_terminal) as bar:
        task = bar.add_task(description, total=num_bytes or None, rows=0)
        yield lambda num_rows, done: bar.update(task, completed=done, rows=num_rows)


@contextmanager
def share_bar(description: str) -> Iterator[Callable[[str, float], None]]:
    """Show which share of a whole is done; yields what is to be told of the current activity and the share, 0 to 1."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn())
    with Progress(*columns, console=notes, transient=True, disable=not notes.is_terminal) as bar:
        task = bar.add_task(description, total=1.0)
        yield lambda activity, share: bar.update(task, description=activity, completed=share)
