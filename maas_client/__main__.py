"""The `maas` command: what a person types.

`python -m maas_client` puts the current folder on the import path, so that a `secrets.py` there is run: type `maas`, or
`python -P -m maas_client`.
"""

from __future__ import annotations

import sys

import grpc
import typer

from maas_client.commands import health, predict, stack
from maas_client.commands.registry import aliases, bases, compare, edits, lineage, models, show, transfer, watch
from maas_client.commands.store import upkeep as store
from maas_client.commands.training import datasets, evaluate, finetune, jobs, report
from maas_client.demo import command as demo
from maas_client.failures import CommandFailed, explain
from maas_client.settings import InvalidAddress, mistyped_variables
from maas_client.views.output import as_text, notes, out, prepare_output

app = typer.Typer(
    name="maas",
    help="Fine-tune pretrained models on your own data, and serve them over gRPC.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command("up")(stack.up)
app.command("health")(health.health)
app.command("demo")(demo.demo)
app.command("photos")(demo.photos)
app.command("bases")(bases.list_bases)
app.command("import")(bases.import_base)
app.add_typer(datasets.app, name="datasets")
app.command("finetune")(finetune.finetune)
app.add_typer(jobs.app, name="jobs")
app.add_typer(models.app, name="models")
app.command("versions")(models.list_versions)
app.command("show")(show.show)
app.command("compare")(compare.compare)
app.command("evaluate")(evaluate.evaluate)
app.command("report")(report.report)
app.command("lineage")(lineage.lineage)
app.command("tag")(edits.tag)
app.command("describe")(edits.describe)
app.command("delete")(edits.delete)
app.command("undelete")(edits.undelete)
app.add_typer(aliases.app, name="alias")
app.command("watch")(watch.watch)
app.command("predict")(predict.predict)
store.app.command("export")(transfer.export_version)
store.app.command("import")(transfer.import_version)
app.add_typer(store.app, name="store")


def main() -> None:
    """Run the command; a failure that was foreseen prints what to do and exits with 1."""
    prepare_output()
    for remark in mistyped_variables():
        notes.print(as_text(remark), style="yellow", soft_wrap=True)
    try:
        app()
    except grpc.RpcError as error:
        _fail(explain(error))
    except BrokenPipeError:
        out.on_broken_pipe()  # whoever read has enough
    except (CommandFailed, InvalidAddress, OSError) as error:
        _fail(str(error))
    except UnicodeEncodeError as error:  # of an argument that the wire cannot carry
        _fail(f"{error.object!r} is not text: its bytes are none of this terminal's encoding")
    except ValueError as error:
        _fail(_wrong_settings(error))


def _wrong_settings(error: ValueError) -> str:
    """Say what is wrong with the store's settings, which only its own commands read; raise any other error again."""
    if "pydantic" not in sys.modules:
        raise error
    from pydantic import ValidationError

    from grpc_runtime.settings import wrong_settings

    if not isinstance(error, ValidationError):
        raise error
    return wrong_settings(error)


def _fail(message: str) -> None:
    notes.print("[bold red]error[/]", as_text(message), highlight=False, soft_wrap=True)
    sys.exit(1)


if __name__ == "__main__":
    main()
