"""`maas alias`: point an alias somewhere, show it, roll it back, delete it, read its history."""

from __future__ import annotations

from typing import Annotated

import typer
from maas.model_store.v1 import model_store_pb2

from maas_client.client import Client
from maas_client.failures import WrongUsage
from maas_client.typed.caller import caller
from maas_client.typed.numbers import INT32_MAX
from maas_client.typed.shorthand import alias_name, alias_text, id_of, model_of
from maas_client.views.new_alias import say_where_new
from maas_client.views.output import AsJson, Yes, confirm, moment, out, print_facts, print_json, print_table

app = typer.Typer(help="List, set, show, roll back and delete aliases, and read their history.", no_args_is_help=True)

Model = Annotated[str, typer.Argument(help="Id of the model, such as flowers.")]
AliasId = Annotated[str, typer.Argument(help="Id of the alias, such as production.")]
Etag = Annotated[str, typer.Option(help="Change it only if it still has this etag, as `maas alias show` prints it.")]
Reason = Annotated[str, typer.Option(help="Why, for the history.")]


@app.command("set")
def set_alias(
    model: Model,
    alias: AliasId,
    version: Annotated[int, typer.Argument(min=1, max=INT32_MAX, help="Number of the version.")],
    canary: Annotated[
        list[str] | None,
        typer.Option(metavar="NUMBER:PERCENT", help="A version that answers a share of requests; up to eight of them."),
    ] = None,
    shadow: Annotated[
        str,
        typer.Option(metavar="NUMBER:PERCENT", help="A version that a share of requests is run on too, to compare."),
    ] = "",
    reason: Reason = "",
    etag: Etag = "",
    *,
    as_json: AsJson = False,
) -> None:
    """Point an alias at a version, and others at a share of its requests; what is not named gets none."""
    with Client() as client:
        say_where_new(client, model, alias)
        changed = client.set_alias(
            model,
            alias,
            version,
            canaries=dict(_share(each, "--canary") for each in canary or []),
            shadow=_share(shadow, "--shadow") if shadow else None,
            reason=reason,
            etag=etag,
            actor=caller(),
        )
    _show(changed, as_json=as_json)


@app.command("list")
def list_aliases(
    model: Annotated[str, typer.Argument(help="Id of the model, such as flowers; without one, all models.")] = "",
    *,
    as_json: AsJson = False,
) -> None:
    """List the aliases of a model, or of all models."""
    with Client() as client:
        found = list(client.aliases(model))
    if as_json:
        print_json(found)
        return
    rows = [
        (f"{id_of(model_of(each.name))}@{id_of(each.name)}", alias_text(each, each.version), moment(each.update_time))
        for each in found
    ]
    print_table("aliases", ["alias", "points at", "changed"], rows, "no aliases yet: `maas alias set` makes one")


@app.command("show")
def show_alias(model: Model, alias: AliasId, *, as_json: AsJson = False) -> None:
    """Show where an alias points, and its etag."""
    with Client() as client:
        found = client.alias(model, alias)
    if as_json:
        print_json(found)
        return
    target, changed = alias_text(found, found.version), moment(found.update_time)
    print_facts(found.name, [("points at", target), ("changed", changed), ("etag", found.etag)])


@app.command("rollback")
def roll_back(model: Model, alias: AliasId, reason: Reason = "", etag: Etag = "", *, as_json: AsJson = False) -> None:
    """Point an alias back at what it named before, canaries and shadow included."""
    with Client() as client:
        _show(client.roll_back_alias(model, alias, reason=reason, etag=etag, actor=caller()), as_json=as_json)


@app.command("delete")
def delete_alias(
    model: Model,
    alias: AliasId,
    reason: Reason = "",
    etag: Etag = "",
    *,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Delete an alias; its history stays, and setting it again begins anew."""
    name = alias_name(model, alias)
    confirm(f"Delete {name}?", yes=yes)
    with Client() as client:
        client.delete_alias(model, alias, reason=reason, etag=etag, actor=caller())
    if as_json:
        print_json({"deleted": name})
    else:
        out.print(f"{name} is deleted")


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
            f"{'refused: ' if move.refused else ''}{alias_text(move, move.to_version)}",
            move.actor,
            move.reason,
        )
        for move in moves
    ]
    print_table(f"{model}@{alias}", ["when", "from", "to", "who", "why"], rows, "no moves yet")


def _share(text: str, option: str) -> tuple[int, float]:
    number, _, percent = text.partition(":")
    try:
        return int(number), float(percent)
    except ValueError as error:
        raise WrongUsage(f"{option} must have the form NUMBER:PERCENT, such as 4:10, not {text!r}") from error


def _show(alias: model_store_pb2.Alias, *, as_json: bool) -> None:
    if as_json:
        print_json(alias)
    else:
        text = alias_text(alias, alias.version)
        out.print(f"{alias.name} -> {alias.version}" if text == id_of(alias.version) else f"{alias.name} -> {text}")
