"""`maas health`: is a server serving? For people, and for health checks of containers."""

from __future__ import annotations

from typing import Annotated

import typer

from grpc_runtime.addresses import check_target
from maas_client.failures import WrongUsage
from maas_client.typed.numbers import finite
from maas_client.views.output import AsJson, as_text, notes, out, print_json
from maas_client.wire.health import why_not_serving


def health(
    address: Annotated[str, typer.Argument(help="host:port of a server.")],
    service: Annotated[str, typer.Option(help="Full name of one service; default: the server as a whole.")] = "",
    timeout: Annotated[float, typer.Option(callback=finite, help="Seconds to wait.")] = 3.0,
    *,
    as_json: AsJson = False,
) -> None:
    """Exit with 0 where the server reports SERVING, else with 1."""
    try:
        check_target(address)
    except ValueError as error:
        raise WrongUsage(f"the address {error}") from error
    reason = why_not_serving(address, service=service, timeout_seconds=timeout)
    if as_json:
        print_json({"address": address, "serving": not reason})
    else:
        out.print("NOT_SERVING" if reason else "SERVING")
    if reason:
        notes.print(as_text(reason), highlight=False, soft_wrap=True)
    raise typer.Exit(1 if reason else 0)
