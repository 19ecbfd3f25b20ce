"""The `maas` command: what a person types.

`python -m maas_client` puts the current folder on the import path, so that a `secrets.py` there is run: type `maas`, or
`python -P -m maas_client`.
"""

from __future__ import annotations

import sys
from typing import Annotated

import grpc
import typer

from maas_client.commands import health, predict, schema, stack, status
from maas_client.commands.registry import aliases, bases, compare, edits, lineage, models, show, transfer, watch
from maas_client.commands.store import upkeep as store
from maas_client.commands.training import datasets, evaluate, finetune, jobs, recommend, report
from maas_client.demo import command as demo
from maas_client.errors import MaasError, error_of
from maas_client.exit_codes import ExitCode
from maas_client.settings import mistyped_variables
from maas_client.views.output import as_text, notes, out, prepare_output
from model_store.extras import NotInstalled

_SERVICES, _TRAINING, _REGISTRY, _SERVING, _OPERATION = (
    "Services",
    "Data and training",
    "Registry",
    "Predictions",
    "Operation",
)
app = typer.Typer(
    name="maas",
    epilog=f"Exit codes: {', '.join(f'{code} {code.name.lower().replace(chr(95), chr(32))}' for code in ExitCode)}.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _print_version(asked: bool) -> None:  # noqa: FBT001  as typer calls it
    if asked:
        from importlib.metadata import version

        out.print(f"maas {version('maas-transfer')}", highlight=False)
        raise typer.Exit


@app.callback()
def maas(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version of maas.")
    ] = False,
) -> None:
    """Fine-tune pretrained models on your own data, and serve them over gRPC."""


app.command("up", rich_help_panel=_SERVICES)(stack.up)
app.command("status", rich_help_panel=_SERVICES)(status.status)
app.command("health", rich_help_panel=_SERVICES)(health.health)
app.command("demo", rich_help_panel=_SERVICES)(demo.demo)
app.command("photos", rich_help_panel=_SERVICES)(demo.photos)
app.command("bases", rich_help_panel=_TRAINING)(bases.list_bases)
app.command("import", rich_help_panel=_TRAINING)(bases.import_base)
app.add_typer(datasets.app, name="datasets", rich_help_panel=_TRAINING)
app.command("finetune", rich_help_panel=_TRAINING)(finetune.finetune)
app.add_typer(jobs.app, name="jobs", rich_help_panel=_TRAINING)
app.add_typer(models.app, name="models", rich_help_panel=_REGISTRY)
app.command("versions", rich_help_panel=_REGISTRY)(models.list_versions)
app.command("show", rich_help_panel=_REGISTRY)(show.show)
app.command("compare", rich_help_panel=_REGISTRY)(compare.compare)
app.command("evaluate", rich_help_panel=_TRAINING)(evaluate.evaluate)
app.command("recommend", rich_help_panel=_TRAINING)(recommend.recommend)
app.command("report", rich_help_panel=_TRAINING)(report.report)
app.command("lineage", rich_help_panel=_REGISTRY)(lineage.lineage)
app.command("tag", rich_help_panel=_REGISTRY)(edits.tag)
app.command("describe", rich_help_panel=_REGISTRY)(edits.describe)
app.command("delete", rich_help_panel=_REGISTRY)(edits.delete)
app.command("undelete", rich_help_panel=_REGISTRY)(edits.undelete)
app.add_typer(aliases.app, name="alias", rich_help_panel=_REGISTRY)
app.command("watch", rich_help_panel=_REGISTRY)(watch.watch)
app.command("predict", rich_help_panel=_SERVING)(predict.predict)
store.app.command("export")(transfer.export_version)
store.app.command("import")(transfer.import_version)
app.add_typer(store.app, name="store", rich_help_panel=_OPERATION)
app.command("schema", rich_help_panel=_OPERATION)(schema.schema)


def main() -> None:
    """Run the command; a failure that was foreseen prints what to do, and exits with the code of its kind."""
    prepare_output()
    for remark in mistyped_variables():
        notes.print(as_text(remark), style="yellow", soft_wrap=True)
    try:
        app()
    except MaasError as error:
        _fail(str(error), error.exit_code)
    except grpc.RpcError as error:
        own = error_of(error)
        _fail(str(own), own.exit_code)
    except BrokenPipeError:
        out.on_broken_pipe()  # whoever read has enough
    except NotInstalled as error:
        _fail(str(error), ExitCode.NOT_INSTALLED)
    except OSError as error:
        _fail(str(error))
    except UnicodeEncodeError as error:  # of an argument that the wire cannot carry
        _fail(f"{error.object!r} is not text: its bytes are none of this terminal's encoding", ExitCode.USAGE)
    except ValueError as error:
        _fail(_wrong_settings(error), ExitCode.USAGE)


def _wrong_settings(error: ValueError) -> str:
    """Say what is wrong with the store's settings, which only its own commands read; raise any other error again."""
    if "pydantic" not in sys.modules:
        raise error
    from pydantic import ValidationError

    from grpc_runtime.settings import wrong_settings

    if not isinstance(error, ValidationError):
        raise error
    return wrong_settings(error)


def _fail(message: str, exit_code: ExitCode = ExitCode.FAILED) -> None:
    notes.print("[bold red]error[/]", as_text(message), highlight=False, soft_wrap=True)
    sys.exit(exit_code)


if __name__ == "__main__":
    main()
