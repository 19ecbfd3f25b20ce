"""What a command says of the data that it uploads: its modality, its task, and what columns are used for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from maas_client.failures import WrongUsage
from maas_client.typed.table_schemas import read_schema

_PANEL = "Data"
_TABLES = {".csv", ".tsv", ".jsonl", ".ndjson", ".parquet"}
_TASKS = ("classification", "multi_label", "regression")
Task = Annotated[
    str,
    typer.Option(help="classification, multi_label or regression; default: as the data says.", rich_help_panel=_PANEL),
]
Modality = Annotated[
    str,
    typer.Option(
        help="image, audio, text, table or values (a table of numbers); default: as the upload says.",
        rich_help_panel=_PANEL,
    ),
]
Targets = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        metavar="COLUMN",
        help="Column of a CSV file to predict, once for each; default: the last one.",
        rich_help_panel=_PANEL,
    ),
]
Ignored = Annotated[
    list[str] | None,
    typer.Option("--ignore", metavar="COLUMN", help="Column of a CSV file not to use.", rich_help_panel=_PANEL),
]
Group = Annotated[
    str,
    typer.Option(
        metavar="COLUMN", help="Column of a CSV file whose equal cells stay in one split.", rich_help_panel=_PANEL
    ),
]

TextColumn = Annotated[
    str,
    typer.Option(
        "--text-column",
        metavar="COLUMN",
        help="Column of a table that holds the texts, or that --text-base reads; default: guessed.",
        rich_help_panel=_PANEL,
    ),
]

SchemaFile = Annotated[
    Path | None,
    typer.Option(
        "--schema",
        metavar="FILE",
        exists=True,
        dir_okay=False,
        help="JSON with the kind of each column, such as `maas datasets schema` prints it; default: found out.",
        rich_help_panel=_PANEL,
    ),
]


def modality_of(path: Path) -> str:
    """Return the modality of uploads of this form; empty for a table, of which the service finds it out."""
    return "" if path.suffix.lower() in _TABLES else "image"


def data_options(
    task: str,
    modality: str,
    targets: Sequence[str] | None,
    ignored: Sequence[str] | None,
    group: str,
    text_column: str = "",
    schema: Path | None = None,
    *,
    reads_text_beside: bool = False,
) -> Mapping[str, Any]:
    """Return the arguments of `Client.upload_dataset` that say what the data is; options count more than the schema.

    With `reads_text_beside` the column of texts is one of a table's, and else the texts are all that there is.
    Raise WrongUsage, and InvalidArgument for a file that is no schema.
    """
    if task not in {"", *_TASKS}:
        raise WrongUsage(f"--task must be one of {', '.join(_TASKS)}, not {task!r}")
    columns = {
        **(read_schema(schema) if schema is not None else {}),
        **dict.fromkeys(ignored or (), "ignore"),
        **({group: "group"} if group else {}),
        **dict.fromkeys(targets or (), "target"),
        **({text_column: "text" if reads_text_beside else "feature"} if text_column else {}),
    }
    modality = modality or ("table" if reads_text_beside else "text" if text_column else "")
    return {"task": task, "modality": modality, "columns": columns}
