"""`maas health`: is a server serving? For people, and for health checks of containers."""

from __future__ import annotations

from typing import Annotated

import typer

from grpc_runtime.addresses import check_target
from maas_client.failures import CommandFailed
from maas_client.health import is_serving
from maas_client.output import AsJson, out, print_json


def health(
    address: Annotated[str, typer.Argument(help="host:port of a server.")],
    service: Annotated[str, typer.Option(help="Full name of one service; default: the server as a whole.")] = "",
    timeout: Annotated[float, typer.Option(help="Seconds to wait.")] = 3.0,
    *,
    as_json: AsJson = False,
) -> None:
    """Exit with 0 where the server reports SERVING, else with 1."""
    try:
        check_target(address)
    except ValueError as error:
        raise CommandFailed(f"the address {error}") from error
    serving = is_serving(address, service=service, timeout_seconds=timeout)
    if as_json:
        print_json({"address": address, "serving": serving})
    else:
        out.print("SERVING" if serving else "NOT_SERVING")
    raise typer.Exit(0 if serving else 1)
