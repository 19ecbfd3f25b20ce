"""`maas bases` and `maas import`: pretrained models to start from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from maas_client.client import Client
from maas_client.failures import WrongUsage, store_errors_explained
from maas_client.typed.caller import caller
from maas_client.typed.numbers import INT32_MAX, INT64_MAX
from maas_client.typed.shorthand import id_of, pairs
from maas_client.views.new_alias import say_where_new
from maas_client.views.output import AsJson, notes, out, print_json, print_table, size
from model_store.extras import require

_NOT_OF_IDS = re.compile(r"[^a-z0-9]+")
# What an import remembers of a base and people should read, by its key in the recipe.
_REMEMBERED = {
    "licence": "licence of the weights",
    "published_licence": "licence of the weights that timm publishes for it",
    "preprocessing": "preprocessing",
}


def list_bases(*, as_json: AsJson = False) -> None:
    """List the pretrained models that `maas import` can bring in."""
    require("server", "maas bases")
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
    architecture: Annotated[
        str,
        typer.Argument(help="resnet18 and others of `maas bases`, timm:NAME, a Hugging Face folder, or hf:OWNER/NAME."),
    ],
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
        str,
        typer.Option(
            help="Of mlp: numbers in a row and in each hidden layer, such as 64,256; of rows: numbers in a row."
        ),
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
    require("server", "maas import")
    model = model or _NOT_OF_IDS.sub("-", Path(architecture.rpartition(":")[2]).name.lower()).strip("-")
    with Client() as client, notes.status(f"reading the weights of {architecture}"), store_errors_explained():
        say_where_new(client, model, alias)
        version = client.import_base(
            architecture,
            model,
            source=source,
            weights=weights,
            labels=labels,
            random=random,
            num_labels=num_labels,
            widths=_widths(widths) if widths else (),
            base=made_from,
            show_progress=True,
            calibrate_by=calibration,
            metric_values=_numbers(metric or []),
            tags=pairs(tag or [], "KEY=VALUE"),
            description=description,
            alias=alias,
            actor=caller(),
        )
    if as_json:
        print_json(version)
        return
    added = size(version.added_bytes)
    out.print(
        f"{version.name}: {version.architecture}, {len(version.stages)} stages, {size(version.size_bytes)} (+{added})"
    )
    for key, said in _REMEMBERED.items():
        if key in version.lineage.recipe:
            out.print(f"{said}: {version.lineage.recipe[key]}", highlight=False)
    out.print(f"next: maas finetune DATA --base {id_of(model)}")


def _numbers(metrics: list[str]) -> dict[str, float]:
    form = "NAME=NUMBER, such as accuracy=0.93"
    try:
        return {name: float(value) for name, value in pairs(metrics, form).items()}
    except ValueError as error:
        raise WrongUsage(f"--metric must have the form {form}: {error}") from error


def _widths(text: str) -> list[int]:
    try:
        return [int(width) for width in text.split(",")]
    except ValueError as error:
        raise WrongUsage("--widths must be whole numbers with commas between them, such as 64,256") from error
