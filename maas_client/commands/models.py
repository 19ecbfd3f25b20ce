"""`maas models` and `maas versions`: what is registered."""

from __future__ import annotations

from typing import Annotated

import typer

from maas_client.client import Client
from maas_client.output import AsJson, moment, print_json, print_table, size
from maas_client.shorthand import id_of


def list_models(*, as_json: AsJson = False) -> None:
    """List the registered models with their aliases."""
    with Client() as client:
        models = list(client.models())
    if as_json:
        print_json(models)
        return
    rows = [
        (id_of(model.name), model.last_version_number, ", ".join(_alias_text(alias) for alias in model.aliases))
        for model in models
    ]
    print_table("models", ["model", "last version", "aliases"], rows, "no models yet: `maas import` brings a base in")


def list_versions(
    model: Annotated[str, typer.Argument(help="Id of the model, such as flowers.")], *, as_json: AsJson = False
) -> None:
    """List the versions of one model, newest first."""
    with Client() as client:
        versions = list(client.versions(model))
    if as_json:
        print_json(versions)
        return
    rows = [
        (
            id_of(version.name),
            version.architecture,
            version.lineage.recipe["name"] if "name" in version.lineage.recipe else "",  # noqa: SIM401  Struct has no get
            version.lineage.base.removeprefix("models/"),
            f"{version.metrics.accuracy:.3f}" if version.HasField("metrics") else "",
            version.num_labels,
            f"{size(version.size_bytes)} (+{size(version.added_bytes)})",
            moment(version.create_time),
            ", ".join(version.aliases),
        )
        for version in versions
    ]
    columns = ["version", "architecture", "recipe", "base", "accuracy", "labels", "size (added)", "created", "aliases"]
    print_table(f"versions of {model}", columns, rows, "no versions yet")


def _alias_text(alias) -> str:  # type: ignore[no-untyped-def]  # noqa: ANN001  maas.model_store.v1.Alias
    return f"{id_of(alias.name)} -> {id_of(alias.version)}"
