"""`maas store`: the operator's commands on the store itself; they open it directly, without a service."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from maas_client.failures import CommandFailed
from maas_client.output import AsJson, out, print_json, size

app = typer.Typer(help="Look after the model store (on the machine that holds it).", no_args_is_help=True)

_SECONDS_AN_HOUR = 3600


@app.callback()
def store() -> None:
    """Look after the model store."""


@app.command("migrate")
def migrate(*, as_json: AsJson = False) -> None:
    """Bring the database to the schema that this maas needs, one process at a time."""
    from grpc_runtime.settings import StoreSettings

    with _store_errors_explained():
        revision = StoreSettings().connect().migrate()
    if as_json:
        print_json({"schema": revision})
    else:
        out.print(f"the database has schema {revision}")


@app.command("gc")
def collect_garbage(
    grace_hours: Annotated[float, typer.Option(help="Leave what is younger alone.")] = 24.0,
    *,
    delete: Annotated[bool, typer.Option("--delete", help="Remove it; without this, only say what there is.")] = False,
    as_json: AsJson = False,
) -> None:
    """Find blobs that no version and no dataset needs, and what killed writers left; safe while services run."""
    from dataclasses import asdict

    from grpc_runtime.settings import StoreSettings
    from model_store.gc import Collector

    settings = StoreSettings()
    with _store_errors_explained():
        collector = Collector(
            settings.open_database(), settings.open_blobs(), grace_seconds=grace_hours * _SECONDS_AN_HOUR
        )
        garbage = collector.collect() if delete else collector.find()
    if as_json:
        print_json({**asdict(garbage), "deleted": delete})
        return
    done = "removed" if delete else "would be removed by --delete"
    what = f"{garbage.num_blobs} unused blobs and {garbage.num_unfinished} unfinished files"
    out.print(f"{what}, {size(garbage.size_bytes)}, {done}")


@contextmanager
def _store_errors_explained() -> Iterator[None]:
    from model_store.errors import StoreError

    try:
        yield
    except StoreError as error:
        raise CommandFailed(str(error)) from error
