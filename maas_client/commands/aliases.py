"""`maas alias`: point an alias somewhere, roll it back, read its history."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer
from maas.model_store.v1 import model_store_pb2

from maas_client.client import Client
from maas_client.output import AsJson, moment, out, print_json, print_table
from maas_client.shorthand import alias_name, id_of, target_name

app = typer.Typer(help="Point an alias at a version, roll it back, read its history.", no_args_is_help=True)

Model = Annotated[str, typer.Argument(help="Id of the model, such as flowers.")]
AliasId = Annotated[str, typer.Argument(help="Id of the alias, such as production.")]
Reason = Annotated[str, typer.Option(help="Why, for the history.")]


@app.command("set")
def set_alias(
    model: Model,
    alias: AliasId,
    version: Annotated[int, typer.Argument(help="Number of the version.")],
    reason: Reason = "",
    expected: Annotated[int, typer.Option(help="Version it must point at now; 0 means any.")] = 0,
    *,
    as_json: AsJson = False,
) -> None:
    """Point an alias at a version."""
    request = model_store_pb2.SetAliasRequest(
        name=alias_name(model, alias),
        version=target_name(f"{id_of(model)}/{version}"),
        expected_version=target_name(f"{id_of(model)}/{expected}") if expected else "",
        reason=reason,
        actor=getpass.getuser(),
    )
    with Client() as client:
        _show(client.registry.SetAlias(request), as_json=as_json)


@app.command("rollback")
def roll_back(model: Model, alias: AliasId, reason: Reason = "", *, as_json: AsJson = False) -> None:
    """Point an alias back at the version it named before."""
    request = model_store_pb2.RollBackAliasRequest(
        name=alias_name(model, alias), reason=reason, actor=getpass.getuser()
    )
    with Client() as client:
        _show(client.registry.RollBackAlias(request), as_json=as_json)


@app.command("history")
def history(model: Model, alias: AliasId, *, as_json: AsJson = False) -> None:
    """List the moves of an alias, newest first."""
    with Client() as client:
        moves = list(client.alias_history(model, alias))
    if as_json:
        print_json(moves)
        return
    rows = [
        (
            moment(move.create_time),
            id_of(move.from_version),
            id_of(move.to_version),
            move.actor,
            move.reason,
        )
        for move in moves
    ]
    print_table(f"{model}@{alias}", ["when", "from", "to", "who", "why"], rows, "no moves yet")


def _show(alias: model_store_pb2.Alias, *, as_json: bool) -> None:
    if as_json:
        print_json(alias)
    else:
        out.print(f"{alias.name} -> {alias.version}")
