"""`maas bases` and `maas import`: pretrained models to start from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maas_client.client import Client
from maas_client.failures import CommandFailed, store_errors_explained
from maas_client.typed.caller import caller
from maas_client.typed.numbers import INT32_MAX, INT64_MAX
from maas_client.typed.shorthand import id_of, pairs
from maas_client.views.new_alias import say_where_new
from maas_client.views.output import AsJson, notes, out, print_json, print_table, size

if TYPE_CHECKING:
    from model_store.bases.catalogue import LoadedBase

_NUM_MLP_LABELS = 10


def list_bases(*, as_json: AsJson = False) -> None:
    """List the pretrained models that `maas import` can bring in."""
    from model_store.bases.catalogue import catalogue

    bases = catalogue()
    if as_json:
        print_json(
            [
                {
                    "architecture": base.architecture,
                    "source": base.source,
                    "licence": base.licence,
                    "download_bytes": base.download_bytes,
                    "num_parameters": base.num_parameters,
                    "input_spec": base.input_spec.to_json(),
                    "num_labels": len(base.labels),
                }
                for base in bases
            ]
        )
        return
    rows = [
        (
            base.architecture,
            base.source,
            base.licence,
            size(base.download_bytes),
            f"{base.num_parameters / 1e6:.1f} M",
            f"{base.input_spec.kind} " + " x ".join(map(str, base.input_spec.tensors()[0].shape)),
            len(base.labels) or "none: a backbone",
        )
        for base in bases
    ]
    columns = ["architecture", "--source", "licence", "download", "parameters", "input", "labels"]
    print_table("bases", columns, rows, "no bases")


def import_base(  # noqa: PLR0917  every one is an option of the command line
    architecture: Annotated[str, typer.Argument(help="Architecture, such as resnet18: `maas bases` lists them.")],
    model: Annotated[str, typer.Option(help="Id of the model to register; default: from the architecture.")] = "",
    source: Annotated[str, typer.Option(help="Where the weights come from: `maas bases` lists the sources.")] = "",
    weights: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="A file of safetensors or torch.save: a state dict, or a checkpoint with one.",
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="With --weights or --random: the labels, one a line, as UTF-8."),
    ] = None,
    random: Annotated[
        int | None, typer.Option(min=0, max=INT64_MAX, metavar="SEED", help="Random weights under this seed.")
    ] = None,
    num_labels: Annotated[
        int | None,
        typer.Option(min=0, max=INT32_MAX, help="With --random: labels of the head; none without it, 10 for mlp."),
    ] = None,
    widths: Annotated[
        str, typer.Option(help="Of mlp: numbers in a row and in each hidden layer, such as 64,256.")
    ] = "",
    calibration: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            help="Examples to keep 64 of, for serving in less precision: a folder of them, or a CSV file.",
        ),
    ] = None,
    alias: Annotated[str, typer.Option(help="Alias to point at the new version.")] = "",
    made_from: Annotated[str, typer.Option("--base", help="Version that the weights were trained from.")] = "",
    metric: Annotated[
        list[str] | None, typer.Option(help="NAME=NUMBER, such as accuracy=0.93; any number of them.")
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(help="KEY=VALUE to find it by; any number of them.")] = None,
    description: Annotated[str, typer.Option(help="What people should know of it.")] = "",
    *,
    as_json: AsJson = False,
) -> None:
    """Register a pretrained model as a base, or weights that were trained elsewhere as a version of a model."""
    from maas_client.transfers.publish import publish_base
    from model_store.errors import StoreError
    from model_store.labels import read_labels

    if sum(choice is not None for choice in (source or None, weights, random)) > 1:
        raise CommandFailed("--source, --weights and --random exclude one another: give one of them")
    if labels is not None and weights is None and random is None:
        raise CommandFailed("--labels goes with --weights or --random: the other sources bring their own labels")
    if (widths or num_labels is not None) and random is None:
        raise CommandFailed("--widths and --num-labels go with --random: all other weights have their own sizes")
    model = model or architecture.replace("_", "-")
    tags, numbers = pairs(tag or [], "KEY=VALUE"), _numbers(metric or [])
    try:
        names = read_labels(labels) if labels is not None else None
        with notes.status(f"reading the weights of {architecture}"):
            base = (
                _load(architecture, source, weights, names)
                if random is None
                else _random(architecture, random, num_labels, names, widths)
            )
    except StoreError as error:
        raise CommandFailed(str(error)) from error
    with Client() as client, notes.status("publishing"), store_errors_explained():
        say_where_new(client, model, alias)
        version = publish_base(
            client,
            model,
            base,
            calibrate_by=calibration,
            base=client.version(made_from).name if made_from else "",
            metric_values=numbers,
            tags=tags,
            description=description,
            alias=alias,
            actor=caller(),
        )
    if as_json:
        print_json(version)
        return
    added = size(version.added_bytes)
    out.print(f"{version.name}: {architecture}, {len(version.stages)} stages, {size(version.size_bytes)} (+{added})")
    out.print(f"next: maas finetune DATA --base {id_of(model)}")


def _numbers(metrics: list[str]) -> dict[str, float]:
    form = "NAME=NUMBER, such as accuracy=0.93"
    try:
        return {name: float(value) for name, value in pairs(metrics, form).items()}
    except ValueError as error:
        raise CommandFailed(f"--metric must have the form {form}: {error}") from error


def _load(architecture: str, source: str, weights: Path | None, names: list[str] | None) -> LoadedBase:
    from model_store.bases import catalogue
    from model_store.bases.tabular import MLP

    if architecture == MLP:
        raise CommandFailed("mlp begins at random: give it --random SEED and --widths, such as 64,256")
    if weights is not None:
        return catalogue.load_weights_file(architecture, weights, names)
    return catalogue.load_base(architecture, source or catalogue.TORCHVISION, show_progress=True)


def _random(architecture: str, seed: int, num_labels: int | None, names: list[str] | None, widths: str) -> LoadedBase:
    from model_store.bases.catalogue import load_random
    from model_store.bases.tabular import MLP, load_random_mlp
    from model_store.labels import check_labels

    if names is not None:
        check_labels(names)
    if names is not None and num_labels not in {None, len(names)}:
        raise CommandFailed(f"--num-labels is {num_labels}, and the file of --labels has {len(names)} lines")
    if architecture == MLP:
        counted = map(str, range(_NUM_MLP_LABELS if num_labels is None else num_labels))
        return load_random_mlp(_widths(widths), names or list(counted), seed)
    if widths:
        raise CommandFailed(f"--widths goes with mlp: the sizes of {architecture} are its own")
    base = load_random(architecture, seed, len(names or []) or num_labels or 0)
    return replace(base, labels=tuple(names)) if names else base


def _widths(text: str) -> list[int]:
    try:
        return [int(width) for width in text.split(",")]
    except ValueError as error:
        raise CommandFailed("--widths of mlp must be whole numbers with commas between them, such as 64,256") from error
