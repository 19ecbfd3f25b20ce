"""`maas tag`, `describe`, `delete` and `undelete`: what people write on models and versions."""

from __future__ import annotations

from typing import Annotated

import typer

from maas_client.client import Client
from maas_client.typed.shorthand import pairs, short_name, target_name
from maas_client.views.output import AsJson, Yes, as_text, confirm, moment, out, print_json, tags_text

Name = Annotated[str, typer.Argument(help="A model or a version: flowers, flowers/3, flowers@production.")]
Etag = Annotated[str, typer.Option(help="Change it only if it still has this etag, as `maas show` prints it.")]


def tag(
    name: Name,
    tags: Annotated[list[str], typer.Argument(metavar="KEY=VALUE...", help="Tags to set; KEY= removes one.")],
    etag: Etag = "",
    *,
    as_json: AsJson = False,
) -> None:
    """Set or remove tags; all others stay."""
    given = pairs(tags, "KEY=VALUE, or KEY= to remove a tag")
    with Client() as client:
        changed = client.tag(name, given, etag=etag)
    if as_json:
        print_json(changed)
    else:
        out.print(as_text(f"{changed.name}  {tags_text(changed.tags) or 'has no tags'}"))


def describe(
    name: Name,
    text: Annotated[str, typer.Argument(help="What people should know of it.")],
    etag: Etag = "",
    *,
    as_json: AsJson = False,
) -> None:
    """Write the description of a model or a version."""
    with Client() as client:
        changed = client.describe(name, text, etag=etag)
    if as_json:
        print_json(changed)
    else:
        out.print(f"{changed.name} is described")


def delete(
    name: Name,
    etag: Etag = "",
    *,
    force: Annotated[bool, typer.Option("--force", help="Delete a model's versions with it.")] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Delete a model or a version; it can be undeleted for a while."""
    name = target_name(name)
    confirm(f"Delete {name}{' and its versions' if force else ''}?", yes=yes)
    with Client() as client:
        deleted = client.delete(name, etag=etag, force=force)
    if as_json:
        print_json(deleted)
        return
    until, short = moment(deleted.purge_time), short_name(name).removeprefix("models/")
    out.print(f"{name} is deleted; until {until} `maas undelete {short}` brings it back", highlight=False)


def undelete(name: Name, *, as_json: AsJson = False) -> None:
    """Bring back a model, with the versions that were deleted with it, or a version."""
    with Client() as client:
        back = client.undelete(name)
    if as_json:
        print_json(back)
    else:
        out.print(f"{back.name} is back")
