"""What commands print: tables for people, JSON (`--json`) for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC
from io import TextIOWrapper
from typing import Annotated, Any

import typer
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from model_store.normal_form import replaced

_PIPED_COLUMNS = 200
out = Console(width=None if sys.stdout.isatty() else _PIPED_COLUMNS)
notes = Console(stderr=True, width=None if sys.stderr.isatty() else _PIPED_COLUMNS)
"""Progress and remarks: kept out of standard output, so that it can be piped."""

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def prepare_output() -> None:
    """Let no character that the terminal's encoding lacks end a command: it is shown as `?`, and in JSON escaped."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace" if _is_unicode() else "replace")


def print_json(value: Message | Iterable[Message] | Any) -> None:  # noqa: ANN401  messages or plain values
    """Print one message, a list of messages, or plain values as JSON with the protos' own field names."""
    typer.echo(json.dumps(_plain(value), indent=2, ensure_ascii=not _is_unicode()))


def print_json_line(value: Message) -> None:
    """Print one message as JSON on a line of its own, at once."""
    print(json.dumps(_plain(value), ensure_ascii=not _is_unicode()), flush=True)  # noqa: T201  a stream of them, for programs


def print_facts(title: str, facts: Iterable[tuple[str, object]]) -> None:
    """Print what is known of one thing, a line for each fact; those that are empty are left out."""
    table = Table.grid(padding=(0, 2))
    for name, value in facts:
        if str(value):
            table.add_row(name, as_text(value))
    out.print(Text(title, style="bold"), table, sep="\n", highlight=False)


def as_text(value: object) -> Text:
    """Return what anybody may have written as it is: no markup, and nothing that a terminal would obey."""
    return Text("\n".join(replaced(line) for line in str(value).split("\n")))


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> None:
    """Print rows under their columns, or `empty` where there are none."""
    table = Table(title=title or None, title_justify="left", title_style="bold", header_style="bold", box=SIMPLE_HEAD)
    for column in columns:
        # The first column names the thing: it is what people copy.
        table.add_column(column, overflow="fold", no_wrap=column == columns[0])
    for row in rows:
        table.add_row(*(as_text(cell) for cell in row))
    if table.row_count:
        out.print(table)
    else:
        out.print(empty)


def show_numbers(words: Mapping[str, str]) -> None:
    """Say which words a picture's numbers stand for, as no font of this machine has their letters."""
    if words:
        meaning = ", ".join(f"{number} {word}" for number, word in words.items())
        notes.print(as_text(f"no font here has the letters of some labels (install one): {meaning}"), soft_wrap=True)


def confirm(question: str, *, yes: bool) -> None:
    """Ask on a terminal, unless told not to; any answer but yes ends the command."""
    if not yes and sys.stdin.isatty():
        typer.confirm(question, abort=True, err=True)


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
    return f"{time.ToDatetime(UTC).astimezone():%Y-%m-%d %H:%M}"


def metric(value: float) -> str:
    """Write a metric as it is compared: to four digits."""
    return f"{value:.4g}"


def tags_text(tags: Mapping[str, str]) -> str:
    """Write tags as they are typed."""
    return " ".join(f"{key}={tags[key]}" for key in sorted(tags))


def _is_unicode() -> bool:
    return sys.stdout.encoding.lower().startswith("utf")


def _plain(value: Any) -> Any:  # noqa: ANN401  messages or plain values
    if isinstance(value, Message):
        return MessageToDict(value, preserving_proto_field_name=True)
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return [_plain(each) for each in value]
    return value
