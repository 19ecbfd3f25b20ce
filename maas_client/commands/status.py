"""`maas status`: one look at both services, what is served, and the jobs that have not ended."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer
from maas.inference.v1 import inference_pb2

from maas_client.calls.jobs import state_text
from maas_client.calls.status import Status
from maas_client.client import Client
from maas_client.exit_codes import ExitCode
from maas_client.typed.numbers import finite
from maas_client.typed.shorthand import id_of
from maas_client.views.output import AsJson, as_text, moment, notes, out, print_json, print_table, size
from maas_client.views.outputs import StatusOutput

_PREFIX = "VERSION_STATE_"


def status(
    timeout: Annotated[float, typer.Option(callback=finite, help="Seconds to wait for each service.")] = 3.0,
    *,
    as_json: AsJson = False,
) -> None:
    """Show both services, what is served and the jobs that have not ended; exit with 5 where one does not serve."""
    with Client() as client:
        found = client.status(timeout=timeout)
    if as_json:
        print_json(_plain(found))
    else:
        _show(found)
    for each in found.services:
        if each.reason:
            notes.print(as_text(f"{each.service}: {each.reason}"), highlight=False, soft_wrap=True)
    raise typer.Exit(ExitCode.DONE if found.is_serving else ExitCode.UNAVAILABLE)


def _plain(found: Status) -> StatusOutput:
    return {
        "services": [
            {"service": each.service, "address": each.address, "serving": each.is_serving, "reason": each.reason}
            for each in found.services
        ],
        "served_models": list(found.served_models),
        "jobs": list(found.jobs),
    }


def _show(found: Status) -> None:
    rows = [(each.service, each.address, "SERVING" if each.is_serving else "NOT_SERVING") for each in found.services]
    print_table("", ["service", "address", "health"], rows, "")
    print_table("served", ["model", "answers", "loaded", "memory"], _served(found), "nothing is served yet")
    jobs = [(id_of(job.name), state_text(job.state), id_of(job.model), moment(job.create_time)) for job in found.jobs]
    if jobs:
        print_table("jobs that have not ended", ["job", "state", "model", "created"], jobs, "")
    else:
        out.print("no job is under way")


def _served(found: Status) -> Iterator[tuple[str, str, str, str]]:
    for model in found.served_models:
        versions = [each for each in model.versions if each.state != inference_pb2.VERSION_STATE_UNLOADED]
        loaded = (f"{id_of(each.name)} {_state(each)}" for each in versions)
        memory = sum(each.resident_bytes for each in versions)
        yield id_of(model.name), ", ".join(_answers(model)), ", ".join(loaded), size(memory)


def _answers(model: inference_pb2.ServedModel) -> Iterator[str]:
    """Yield what the model's own name and its aliases answer from."""
    if model.default_version:
        yield id_of(model.default_version)
    for alias in model.aliases:
        wanted = f", wanted {id_of(alias.wanted_version)}" if alias.wanted_version != alias.version else ""
        yield f"{id_of(alias.name)} -> {id_of(alias.version) or 'none'}{wanted}"


def _state(version: inference_pb2.ServedVersion) -> str:
    state = inference_pb2.VersionState.Name(version.state).removeprefix(_PREFIX).lower()
    drifted = [each.name for each in version.drift.comparisons if each.psi > each.bound]
    return f"{state} (drift of {', '.join(drifted)})" if drifted else state
