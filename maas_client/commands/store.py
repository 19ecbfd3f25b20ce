"""`maas store`: the operator's commands on the store itself; they open it directly, without a service."""

from __future__ import annotations

import typer

from maas_client.failures import CommandFailed
from maas_client.output import out

app = typer.Typer(help="Look after the model store (on the machine that holds it).", no_args_is_help=True)


@app.callback()
def store() -> None:
    """Look after the model store."""


@app.command("migrate")
def migrate() -> None:
    """Bring the database to the schema that this maas needs, one process at a time."""
    from grpc_runtime.settings import StoreSettings
    from model_store.errors import StoreError

    try:
        revision = StoreSettings().connect().migrate()
    except StoreError as error:
        raise CommandFailed(str(error)) from error
    out.print(f"the database has schema {revision}")
