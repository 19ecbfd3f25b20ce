"""`maas models` and `maas versions`: what is registered."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Annotated

import typer
from maas.model_store.v1 import model_store_pb2

from maas_client.client import Client
from maas_client.typed.known_names import names_of_models, names_of_versions, unknown_names
from maas_client.typed.numbers import INT32_MAX
from maas_client.typed.shorthand import alias_text, id_of, pairs, short_name
from maas_client.views.metrics import headline
from maas_client.views.output import (
    AsJson,
    as_text,
    metric,
    moment,
    notes,
    out,
    print_json,
    print_table,
    size,
    tags_text,
)
from maas_client.views.tasks import answers_text

app = typer.Typer(help="List the models, or create one.", invoke_without_command=True)

_ROOM = {"architecture": 110, "recipe": 110, "answers": 110, "tags": 140}
"""How wide a terminal must be to show a column that can be done without."""
_LOOKED_AT = 10_000  # of what is there, for the names to tell of when nothing was found

Deleted = Annotated[bool, typer.Option("--deleted", help="Show those that were deleted, too.")]


@app.callback()
def list_models(
    context: typer.Context,
    filter_: Annotated[
        str, typer.Option("--filter", help="Conditions, such as 'tags.team = vision AND aliases:production'.")
    ] = "",
    *,
    deleted: Deleted = False,
    as_json: AsJson = False,
) -> None:
    """List the registered models with their aliases and tags."""
    if context.invoked_subcommand is not None:
        return
    with Client() as client:
        models = list(client.models(filter=filter_, show_deleted=deleted))
        if filter_ and not models:
            known = names_of_models(islice(client.models(show_deleted=deleted), _LOOKED_AT))
            _say(unknown_names(filter_, "model", known))
    if as_json:
        print_json(models)
        return
    columns = ["model", "last version", "aliases", "tags", "created"]
    rows = [
        (
            id_of(model.name),
            model.last_version_number,
            ", ".join(f"{id_of(alias.name)} -> {alias_text(alias, alias.version)}" for alias in model.aliases),
            tags_text(model.tags),
            f"{moment(model.create_time)} {_deleted(model)}".rstrip(),
        )
        for model in models
    ]
    print_table("models", columns, rows, _empty(filter_, "no models yet: `maas import` brings a base in"))


app.command("list")(list_models)


@app.command("create")
def create_model(
    model: Annotated[str, typer.Argument(help="Id of the new model, such as flowers.")],
    description: Annotated[str, typer.Option(help="What people should know of it.")] = "",
    tag: Annotated[list[str] | None, typer.Option(help="KEY=VALUE to find it by; any number of them.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Create a model before its first version; importing and fine-tuning create theirs by themselves."""
    with Client() as client:
        made = client.create_model(model, description=description, tags=pairs(tag or [], "KEY=VALUE"))
    if as_json:
        print_json(made)
    else:
        out.print(f"{made.name} is created")


def list_versions(
    model: Annotated[str, typer.Argument(help="Id of the model, such as flowers.")],
    filter_: Annotated[
        str, typer.Option("--filter", help="Conditions, such as 'metrics.accuracy >= 0.9 AND tags.team = vision'.")
    ] = "",
    sort: Annotated[str, typer.Option(help="'metrics.accuracy desc', say, or 'number'; default: newest first.")] = "",
    limit: Annotated[int, typer.Option(min=0, max=INT32_MAX, help="Versions to show at most; 0 means all.")] = 0,
    *,
    deleted: Deleted = False,
    as_json: AsJson = False,
) -> None:
    """List the versions of one model, newest first."""
    with Client() as client:
        found = client.versions(model, filter=filter_, order_by=sort, show_deleted=deleted)
        versions = list(islice(found, limit or None))
        if (filter_ or sort) and not versions:
            known = names_of_versions(islice(client.versions(model, show_deleted=deleted), _LOOKED_AT))
            _say(unknown_names(f"{filter_} {sort}", f"version of {id_of(model)}", known))
    if as_json:
        print_json(versions)
        return
    shown = dict.fromkeys(headline(version.metrics) or "accuracy" for version in versions)
    if sort.startswith("metrics."):
        shown[sort.partition(" ")[0].removeprefix("metrics.")] = None
    cells = [_cells(version, shown) for version in versions]
    columns = [name for name in (cells[0] if cells else []) if _has_room(name) and any(each[name] for each in cells)]
    rows = [[each[name] for name in columns] for each in cells]
    print_table(
        f"versions of {model}", columns, rows, _empty(filter_ or sort.startswith("metrics."), "no versions yet")
    )


def _has_room(column: str) -> bool:
    return out.width >= _ROOM.get(column, 0)


def _cells(version: model_store_pb2.ModelVersion, metrics: Iterable[str]) -> dict[str, str]:
    recipe, values = version.lineage.recipe, version.metric_values
    return {
        "version": id_of(version.name),
        "architecture": version.architecture,
        "recipe": str(recipe["name"]) if "name" in recipe else "",
        "base": short_name(version.lineage.base),
        **{name: metric(values[name]) if name in values else "" for name in metrics},
        "answers": answers_text(version.task, version.output_count),
        "size (added)": f"{size(version.size_bytes)} (+{size(version.added_bytes)})",
        "created": f"{moment(version.create_time)} {_deleted(version)}".rstrip(),
        "aliases": ", ".join(map(id_of, version.aliases)),
        "tags": tags_text(version.tags),
    }


def _deleted(resource: model_store_pb2.Model | model_store_pb2.ModelVersion) -> str:
    return "deleted" if resource.state == model_store_pb2.RESOURCE_STATE_DELETED else ""


def _empty(asked: object, otherwise: str) -> str:
    return "nothing passes the filter" if asked else otherwise


def _say(remarks: Iterable[str]) -> None:
    for remark in remarks:
        notes.print(as_text(remark), style="yellow", soft_wrap=True)
