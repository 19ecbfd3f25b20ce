"""After a fine-tune: wait until its version answers, and say what to type next."""

from __future__ import annotations

from dataclasses import dataclass

import grpc
from maas.model_store.v1 import model_store_pb2
from maas.training.v1 import training_pb2

from maas_client.client import Client
from maas_client.errors import DeadlineExceeded
from maas_client.typed.shorthand import alias_text, id_of
from maas_client.views.output import as_text, notes, out

_DEFAULT = "production"
_CONNECT_SECONDS = 3.0
_LOAD_SECONDS = 60.0
_NEWEST_LOAD_SECONDS = 10.0  # where no alias names it, the operator may have it that nobody loads it


@dataclass(frozen=True)
class ShortName:
    """The shortest name of a version, and the aliases of its model; `answers`: that is not a number.

    A model's own name means what its alias `production` names, else the newest version.
    """

    name: str
    answers: bool
    aliases: list[model_store_pb2.Alias]


def short_name_of(client: Client, version: str) -> ShortName:
    """Return what a version is called now."""
    model_name, _, number = version.partition("/versions/")
    model = id_of(model_name)
    aliases = list(client.model(model_name).aliases)
    own = [id_of(alias.name) for alias in aliases if alias.version == version]
    if _DEFAULT in own or all(id_of(alias.name) != _DEFAULT for alias in aliases):
        return ShortName(model, answers=True, aliases=aliases)
    return ShortName(f"{model}@{own[0]}" if own else f"{model}/{number}", answers=bool(own), aliases=aliases)


def await_answer(client: Client, version: str) -> None:
    """Wait until the inference service answers from a version that a name means; say so where that takes too long.

    Raises LoadFailed where it cannot load the version.
    """
    short = short_name_of(client, version)
    if not short.answers:
        return
    is_aliased = any(alias.version == version for alias in short.aliases)
    try:
        grpc.channel_ready_future(client.inference_channel).result(_CONNECT_SECONDS)
        with notes.status("waiting until it is served"):
            client.wait_ready(version, timeout=_LOAD_SECONDS if is_aliased else _NEWEST_LOAD_SECONDS)
    except grpc.FutureTimeoutError:
        address = client.settings.inference_address
        notes.print(as_text(f"no inference service answers at {address}, so nothing serves it yet"), soft_wrap=True)
    except DeadlineExceeded:
        notes.print(as_text(f"{client.settings.inference_address} does not serve {version} yet"), soft_wrap=True)


def show_next_steps(client: Client, job: training_pb2.TrainingJob) -> None:
    """Say where another version answers still, and what to type next."""
    short = short_name_of(client, job.version)
    if told := _not_promoted(job, short):
        out.print(as_text(told), soft_wrap=True)
    out.print(as_text(f"next: maas report {id_of(job.name)}, maas predict {short.name} FILE"), soft_wrap=True)


def _not_promoted(job: training_pb2.TrainingJob, short: ShortName) -> str:
    """Say which version the alias names that the job was to move, or else `production`, where it is another one."""
    asked = id_of(job.promote.alias or job.alias or _DEFAULT)
    alias = next((each for each in short.aliases if id_of(each.name) == asked), None)
    model, number = id_of(job.model), id_of(job.version)
    if alias is None and not job.promote.alias:
        return ""
    if alias is not None and alias.version == job.version:
        return ""
    names = f"still names {alias_text(alias, alias.version)}" if alias is not None else "names no version"
    return f"{asked} {names}; promote with `maas alias set {model} {asked} {number}`"
