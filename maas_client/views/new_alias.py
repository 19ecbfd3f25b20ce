"""Remark on an alias that is made by naming it: it may be one that is there already, mistyped."""

from __future__ import annotations

from maas_client.client import Client
from maas_client.errors import NotFound
from maas_client.typed.known_names import there_are
from maas_client.typed.shorthand import id_of
from maas_client.views.output import as_text, notes


def say_where_new(client: Client, model: str, alias: str) -> None:
    """Say that an alias will be a new one where its model has others."""
    if not alias:
        return
    try:
        known = [id_of(each.name) for each in client.model(id_of(model)).aliases]
    except NotFound:
        return  # a model that is made with its first version
    if known and alias not in known:
        text = f"{alias} is a new alias of {id_of(model)}: {there_are(alias, known)}"
        notes.print(as_text(text), style="yellow", soft_wrap=True)
