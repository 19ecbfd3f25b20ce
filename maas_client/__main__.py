"""The `maas` command: what a person types."""

from __future__ import annotations

import sys

import grpc
import typer

from maas_client.commands import aliases, bases, datasets, demo, finetune, health, jobs, models, predict, stack, store
from maas_client.failures import CommandFailed, explain
from maas_client.output import notes

app = typer.Typer(
    name="maas",
    help="Fine-tune pretrained models on your own data, and serve them over gRPC.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command("up")(stack.up)
app.command("health")(health.health)
app.command("demo")(demo.demo)
app.command("bases")(bases.list_bases)
app.command("import")(bases.import_base)
app.add_typer(datasets.app, name="datasets")
app.command("finetune")(finetune.finetune)
app.add_typer(jobs.app, name="jobs")
app.command("models")(models.list_models)
app.command("versions")(models.list_versions)
app.add_typer(aliases.app, name="alias")
app.command("predict")(predict.predict)
app.add_typer(store.app, name="store")


def main() -> None:
    """Run the command; a failure that was foreseen prints what to do and exits with 1."""
    try:
        app()
    except grpc.RpcError as error:
        _fail(explain(error))
    except (CommandFailed, OSError) as error:
        _fail(str(error))


def _fail(message: str) -> None:
    notes.print(f"[bold red]error[/] {message}", highlight=False, soft_wrap=True)
    sys.exit(1)


if __name__ == "__main__":
    main()
