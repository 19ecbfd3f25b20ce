"""`maas datasets`: upload images and look at what was uploaded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from maas.training.v1 import training_pb2
from rich.console import Console

from maas_client.client import Client
from maas_client.output import AsJson, out, print_json, print_table, size
from maas_client.shorthand import dataset_name, id_from_path, id_of
from maas_client.uploading import upload

app = typer.Typer(help="List, upload and show datasets.", invoke_without_command=True)

_SHOWN_REJECTIONS = 10


@app.callback()
def list_datasets(context: typer.Context, *, as_json: AsJson = False) -> None:
    """List the datasets."""
    if context.invoked_subcommand is not None:
        return
    with Client() as client:
        datasets = list(client.datasets())
    if as_json:
        print_json(datasets)
        return
    rows = [
        (id_of(each.name), each.num_images, len(each.labels), size(each.size_bytes), each.digest[:12])
        for each in datasets
    ]
    columns = ["dataset", "images", "labels", "size", "digest"]
    print_table("datasets", columns, rows, "no datasets yet: `maas datasets upload DIR` makes one")


@app.command("upload")
def upload_dataset(
    path: Annotated[
        Path, typer.Argument(exists=True, help="Folder with one sub-folder for each label, or an archive.")
    ],
    dataset_id: Annotated[
        str, typer.Option("--id", help="Id of the new dataset; default: from the folder's name.")
    ] = "",
    seed: Annotated[int, typer.Option(help="Seed of the split.")] = 0,
    *,
    as_json: AsJson = False,
) -> None:
    """Upload a folder or an archive (zip, tar, tar.gz) of images."""
    with Client() as client:
        dataset = upload(client, path, dataset_id or id_from_path(path), seed)
    if as_json:
        print_json(dataset)
    else:
        show(dataset)


@app.command("show")
def show_dataset(
    dataset: Annotated[str, typer.Argument(help="Id of the dataset.")], *, as_json: AsJson = False
) -> None:
    """Show one dataset: labels, splits, rejected files."""
    with Client() as client:
        found = client.training.GetDataset(training_pb2.GetDatasetRequest(name=dataset_name(dataset)))
    if as_json:
        print_json(found)
    else:
        show(found)


def show(dataset: training_pb2.Dataset) -> None:
    """Print a dataset's labels with their counts, and what was left out."""
    rows = [(each.label, each.num_train, each.num_validation, each.num_test) for each in dataset.labels]
    title = f"{dataset.name}: {dataset.num_images} images, {size(dataset.size_bytes)}"
    print_table(title, ["label", "train", "validation", "test"], rows, "no labels")
    show_rejections(dataset, out)


def show_rejections(dataset: training_pb2.Dataset, console: Console) -> None:
    """Name the files that were left out, and why."""
    for rejected in dataset.rejected_files[:_SHOWN_REJECTIONS]:
        console.print(f"[yellow]left out[/] {rejected.path}: {rejected.reason}", highlight=False)
    if (more := len(dataset.rejected_files) - _SHOWN_REJECTIONS) > 0:
        console.print(f"… and {more} more: `maas datasets show {id_of(dataset.name)} --json` names them all")
