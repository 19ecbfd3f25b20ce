"""`maas watch`: every write to the registry, as it happens."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC
from typing import Annotated

import typer
from maas.model_store.v1 import model_store_pb2 as pb

from maas_client.client import Client
from maas_client.typed.numbers import INT64_MAX
from maas_client.views.output import AsJson, out, print_json_line


def watch(
    resource: Annotated[str, typer.Argument(help="Only this and what is below it: flowers, flowers/3.")] = "",
    after: Annotated[
        int | None,
        typer.Option(min=0, max=INT64_MAX, help="Sequence number of the last change seen: begin with what came since."),
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Print changes as they happen, until Ctrl-C; with --json, one object a line."""
    with Client() as client, suppress(KeyboardInterrupt):
        for change in client.changes(resource, after_sequence=after):
            if as_json:
                print_json_line(change)
                continue
            kind = pb.Change.Kind.Name(change.kind).removeprefix("KIND_").lower()
            when = f"{change.create_time.ToDatetime(UTC).astimezone():%Y-%m-%d %H:%M:%S}"
            out.print(f"{change.sequence:>6}  {when}  {kind:18} {change.resource}", highlight=False)
