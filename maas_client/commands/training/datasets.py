"""`maas datasets`: bring examples in, look at them, and delete what is not needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from maas.model_store.v1.model_store_pb2 import RESOURCE_STATE_DELETED
from maas.training.v1 import training_pb2

from maas_client.client import Client
from maas_client.commands.training.uploading import split_spec, upload
from maas_client.failures import CommandFailed
from maas_client.modalities import draw_thumbnails
from maas_client.typed.data_options import Group, Ignored, Modality, SchemaFile, Targets, Task, TextColumn, data_options
from maas_client.typed.numbers import INT64_MAX
from maas_client.typed.shorthand import dataset_name, id_from_path, id_of
from maas_client.typed.splits import split_word
from maas_client.typed.table_schemas import kinds_of
from maas_client.views.browser import show_in_browser
from maas_client.views.dataset import show, target_text
from maas_client.views.output import (
    AsJson,
    Yes,
    as_text,
    confirm,
    moment,
    notes,
    out,
    print_json,
    print_table,
    show_numbers,
    size,
)
from maas_client.views.tasks import answers_text

_SHOWN_FEATURES = 8

app = typer.Typer(help="List, upload, show and delete datasets.", invoke_without_command=True)

Name = Annotated[str, typer.Argument(help="Id of the dataset.")]
Seed = Annotated[int | None, typer.Option(min=0, max=INT64_MAX, help="Seed of the split; 0 by default.")]
Encoding = Annotated[
    str, typer.Option(help="Encoding of an archive's names that are not UTF-8, such as gbk, shift_jis or cp866.")
]
AppendTo = Annotated[
    str,
    typer.Option(metavar="DATASET", help="Have this dataset's examples too, in the splits that they are in."),
]


@app.callback()
def list_datasets(
    context: typer.Context,
    filter_: Annotated[
        str, typer.Option("--filter", help="Conditions, such as 'example_count >= 1000 AND parent = datasets/flowers'.")
    ] = "",
    sort: Annotated[str, typer.Option(help="'create_time desc' or 'example_count', say; default: by id.")] = "",
    *,
    deleted: Annotated[bool, typer.Option("--deleted", help="Show those that were deleted, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the datasets."""
    if context.invoked_subcommand is not None:
        return
    with Client() as client:
        datasets = list(client.datasets(filter=filter_, order_by=sort, show_deleted=deleted))
    if as_json:
        print_json(datasets)
        return
    rows = [
        (
            id_of(each.name),
            each.example_count,
            answers_text(each.task, len(each.labels) or len(each.targets)),
            size(each.size_bytes),
            each.digest[:12],
            f"{moment(each.create_time)} {'deleted' if each.state == RESOURCE_STATE_DELETED else ''}".rstrip(),
        )
        for each in datasets
    ]
    columns = ["dataset", "examples", "answers", "size", "digest", "created"]
    empty = "nothing passes the filter" if filter_ else "no datasets yet: `maas datasets upload DIR` makes one"
    print_table("datasets", columns, rows, empty)


app.command("list")(list_datasets)


@app.command("upload")
def upload_dataset(  # noqa: PLR0917  every one is an option of the command line
    path: Annotated[
        Path,
        typer.Argument(
            exists=True,
            help="Folder of images, one sub-folder for each label or with a labels.csv or targets.csv; an archive of "
            "one; or a CSV file of numbers.",
        ),
    ],
    dataset_id: Annotated[
        str, typer.Option("--id", help="Id of the new dataset; default: from the folder's name.")
    ] = "",
    seed: Seed = None,
    append_to: AppendTo = "",
    encoding: Encoding = "",
    task: Task = "",
    modality: Modality = "",
    target: Targets = None,
    ignore: Ignored = None,
    group: Group = "",
    text_column: TextColumn = "",
    schema: SchemaFile = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Upload examples: a folder of files, an archive of one, or a CSV file of numbers."""
    dataset_id = dataset_id or id_from_path(path, "--id")
    data = data_options(task, modality, target, ignore, group, text_column, schema)
    with Client() as client:
        _print(upload(client, path, dataset_id, seed, append_to, encoding=encoding, **data), as_json=as_json)


@app.command("register")
def register_dataset(  # noqa: PLR0917  as above
    dataset_id: Annotated[str, typer.Argument(metavar="NAME", help="Id of the new dataset.")],
    uri: Annotated[
        str, typer.Argument(help="What lies where the service sees it: file:///data/flowers, s3://bucket/x.tar.")
    ],
    seed: Seed = None,
    append_to: AppendTo = "",
    encoding: Encoding = "",
    task: Task = "",
    modality: Modality = "",
    target: Targets = None,
    ignore: Ignored = None,
    group: Group = "",
    text_column: TextColumn = "",
    schema: SchemaFile = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Make a dataset of what lies where the service can read it, and its operator allows that."""
    data = data_options(task, modality, target, ignore, group, text_column, schema)
    with Client() as client, notes.status(as_text(f"reading {uri}")):
        dataset = client.register_dataset(
            dataset_id, uri, split=split_spec(seed), parent=append_to, encoding=encoding, **data
        )
    _print(dataset, as_json=as_json)


@app.command("show")
def show_dataset(dataset: Name, *, as_json: AsJson = False) -> None:
    """Show one dataset: labels, splits, what looks alike, and which files were left out."""
    with Client() as client:
        _print(client.dataset(dataset), as_json=as_json)


@app.command("schema")
def show_schema(dataset: Name) -> None:
    """Print the kind of each column of a table as JSON, to edit it and upload the table by it with --schema."""
    with Client() as client:
        kinds = kinds_of(client.dataset(dataset).schema)
    if not kinds:
        raise CommandFailed(f"{dataset_name(dataset)} has no columns: it was not read from a table")
    print_json(kinds)


@app.command("preview")
def preview_dataset(
    dataset: Name,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="PNG to write; default: DATASET.png.")] = None,
    split: Annotated[str, typer.Option(help="train, validation, test or all.")] = "all",
    examples: Annotated[int, typer.Option(min=1, max=200, help="Examples at most.")] = 60,
    *,
    no_open: Annotated[bool, typer.Option("--no-open", help="Write the picture and do not show it.")] = False,
) -> None:
    """Write a sheet of some pictures of every label, and open it; or print some rows of numbers."""
    name = dataset_name(dataset)
    with Client() as client:
        rows = client.preview_dataset(name, split=split, examples=examples)
        if any(each.HasField("numbers") for each in rows):
            _print_rows(client.dataset(name), rows)
            return
    path = output or Path(f"{id_of(name)}.png")
    title = f"{name}: {len(rows)} examples {'' if split == 'all' else f'of {split}'}".rstrip()
    pictures = [(each.jpeg, target_text(each.row.target), split_word(each.row.split)) for each in rows]
    show_numbers(draw_thumbnails(pictures, title, path))
    out.print(as_text(str(path)), soft_wrap=True)
    if not no_open:
        show_in_browser(path)


def _print_rows(dataset: training_pb2.Dataset, rows: Sequence[training_pb2.PreviewedRow]) -> None:
    names = [each.name for each in dataset.schema.columns if each.role == training_pb2.COLUMN_ROLE_FEATURE]
    lines = [
        (
            each.row.row_number,
            split_word(each.row.split),
            target_text(each.row.target),
            *(f"{number:g}" for number in each.numbers.values[:_SHOWN_FEATURES]),
        )
        for each in rows
    ]
    print_table(dataset.name, ["row", "split", "target", *names[:_SHOWN_FEATURES]], lines, "no rows")


@app.command("delete")
def delete_dataset(dataset: Name, *, yes: Yes = False, as_json: AsJson = False) -> None:
    """Delete a dataset; it can be undeleted for a while, and versions made from it stay."""
    name = dataset_name(dataset)
    confirm(f"Delete {name}?", yes=yes)
    with Client() as client:
        deleted = client.delete_dataset(name)
    if as_json:
        print_json(deleted)
        return
    back = f"until {moment(deleted.purge_time)} `maas datasets undelete {id_of(name)}` brings it back"
    out.print(as_text(f"{name} is deleted; {back}"), soft_wrap=True)


@app.command("undelete")
def undelete_dataset(dataset: Name, *, as_json: AsJson = False) -> None:
    """Bring a deleted dataset back."""
    with Client() as client:
        back = client.undelete_dataset(dataset)
    if as_json:
        print_json(back)
    else:
        out.print(f"{back.name} is back")


def _print(dataset: training_pb2.Dataset, *, as_json: bool) -> None:
    if as_json:
        print_json(dataset)
    else:
        show(dataset)
