"""`maas schema`: the JSON schema of what a command prints with `--json`."""

from __future__ import annotations

from typing import Annotated

import typer

from maas_client.failures import WrongUsage
from maas_client.typed.known_names import there_are
from maas_client.views.output import out, print_json


def schema(
    command: Annotated[
        list[str] | None, typer.Argument(metavar="[COMMAND]...", help="Words of the command, such as: jobs show.")
    ] = None,
) -> None:
    """Print the JSON schema of what a command prints with --json; without a command, list those that have one."""
    from maas_client.views.outputs import OUTPUTS
    from maas_client.views.schemas import schema_of

    words = " ".join(command or ())
    if not words:
        out.print("\n".join(OUTPUTS), highlight=False)
        return
    if words not in OUTPUTS:
        raise WrongUsage(f"no command {words!r} has --json: {there_are(words, OUTPUTS)}")
    print_json(schema_of(words))
