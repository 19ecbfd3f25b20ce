"""`maas tag`, `describe`, `delete` and `undelete`: what people write on models and versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import typer
from google.protobuf.field_mask_pb2 import FieldMask
from maas.model_store.v1 import model_store_pb2 as pb

from maas_client.client import Client
from maas_client.failures import CommandFailed
from maas_client.typed.shorthand import model_of, pairs, short_name, target_name
from maas_client.views.output import AsJson, Yes, as_text, confirm, moment, out, print_json, tags_text

Resource = pb.Model | pb.ModelVersion
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
    changed = _update(name, [f"tags.{key}" for key in given], tags=given, etag=etag)
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
    changed = _update(name, ["description"], description=text, etag=etag)
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
    if "/aliases/" in name:
        raise CommandFailed(f"{name} is an alias: delete it with `maas alias delete`, or name a version by its number")
    confirm(f"Delete {name}{' and its versions' if force else ''}?", yes=yes)
    with Client() as client:
        deleted: Resource
        if _is_version(name):
            deleted = client.registry.DeleteModelVersion(pb.DeleteModelVersionRequest(name=name, etag=etag))
        else:
            deleted = client.registry.DeleteModel(pb.DeleteModelRequest(name=name, etag=etag, force=force))
    if as_json:
        print_json(deleted)
        return
    until, short = moment(deleted.purge_time), short_name(name).removeprefix("models/")
    out.print(f"{name} is deleted; until {until} `maas undelete {short}` brings it back", highlight=False)


def undelete(name: Name, *, as_json: AsJson = False) -> None:
    """Bring back a model, with the versions that were deleted with it, or a version."""
    name = target_name(name)
    with Client() as client:
        back: Resource
        if _is_version(name):
            back = client.registry.UndeleteModelVersion(pb.UndeleteModelVersionRequest(name=name))
        else:
            back = client.registry.UndeleteModel(pb.UndeleteModelRequest(name=name))
    if as_json:
        print_json(back)
    else:
        out.print(f"{back.name} is back")


def _update(
    text: str, paths: Sequence[str], *, etag: str, description: str = "", tags: Mapping[str, str] | None = None
) -> Resource:
    mask = FieldMask(paths=paths)
    with Client() as client:
        name = target_name(text)
        if name == model_of(name):
            model = pb.Model(name=name, description=description, tags=tags, etag=etag)
            return client.registry.UpdateModel(pb.UpdateModelRequest(model=model, update_mask=mask))
        name = name if _is_version(name) else client.version(name).name
        version = pb.ModelVersion(name=name, description=description, tags=tags, etag=etag)
        return client.registry.UpdateModelVersion(pb.UpdateModelVersionRequest(model_version=version, update_mask=mask))


def _is_version(name: str) -> bool:
    return "/versions/" in name
