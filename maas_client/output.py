"""What commands print: tables for people, JSON (`--json`) for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC
from typing import Annotated, Any

import typer
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

_PIPED_COLUMNS = 200
out = Console(width=None if sys.stdout.isatty() else _PIPED_COLUMNS)
notes = Console(stderr=True, width=None if sys.stderr.isatty() else _PIPED_COLUMNS)
"""Progress and remarks: kept out of standard output, so that it can be piped."""

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


def print_json(value: Message | Iterable[Message] | Any) -> None:  # noqa: ANN401  messages or plain values
    """Print one message, a list of messages, or plain values as JSON with the protos' own field names."""
    typer.echo(json.dumps(_plain(value), indent=2, ensure_ascii=False))


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> None:
    """Print rows under their columns, or `empty` where there are none."""
    table = Table(title=title or None, title_justify="left", title_style="bold", header_style="bold", box=SIMPLE_HEAD)
    for column in columns:
        # The first column names the thing: it is what people copy.
        table.add_column(column, overflow="fold", no_wrap=column == columns[0])
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    if table.row_count:
        out.print(table)
    else:
        out.print(empty)


def size(num_bytes: int) -> str:
    """Write a number of bytes in the unit that suits it."""
    value = float(num_bytes)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.2f} GB"


def moment(time: Timestamp) -> str:
    """Write a moment in the reader's own time zone, to the minute."""
    return time.ToDatetime(UTC).astimezone().strftime("%Y-%m-%d %H:%M")


def _plain(value: Any) -> Any:  # noqa: ANN401  messages or plain values
    if isinstance(value, Message):
        return MessageToDict(value, preserving_proto_field_name=True)
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return [_plain(each) for each in value]
    return value
