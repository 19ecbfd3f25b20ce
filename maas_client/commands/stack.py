"""`maas up`: both services on this machine, until Ctrl-C."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from queue import SimpleQueue
from typing import Annotated

import typer

from maas_client.failures import CommandFailed
from maas_client.settings import mistyped_variables
from maas_client.stack.processes import ServiceProcess, Stack
from maas_client.views.output import AsJson, as_text, notes, out, print_json
from maas_client.wire.signals import take
from model_store.extras import require
from model_store.home_folder import expanded


def up(
    home: Annotated[Path, typer.Option(envvar="MAAS_HOME", help="Folder of the store, the logs and the blobs.")] = Path(
        "~/.maas"
    ),
    *,
    as_json: AsJson = False,
) -> None:
    """Start the training and the inference service on this machine; Ctrl-C stops both."""
    require("server", "maas up")
    ends: SimpleQueue[str | None] = SimpleQueue()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ends.put(None))
    home = expanded(home, "MAAS_HOME")
    with Stack(home) as stack:
        _start(stack, home)
        with notes.status("starting both services"):
            settings = stack.await_serving(or_not_ready=True)
        _show_remarks(stack)
        for obstacle in [each for service in stack.services.values() for each in service.obstacles()]:
            notes.print(as_text(f"not ready: {obstacle}"), style="yellow", soft_wrap=True)
        where = {"training": settings.training_address, "inference": settings.inference_address, "home": str(home)}
        if as_json:
            print_json(where)
        else:
            out.print("\n".join(f"{name:10} {place}" for name, place in where.items()), highlight=False)
            out.print(f"logs       {home / 'run'}\nCtrl-C stops both", highlight=False)
        end = _await_end(stack, ends)
        with notes.status("stopping"):
            stack.stop()
    if end is not None:
        raise CommandFailed(end)
    notes.print("stopped")


def _start(stack: Stack, home: Path) -> None:
    try:
        stack.start()
    except OSError as error:
        raise CommandFailed(f"MAAS_HOME={home} cannot be used ({error}): choose another folder") from error


def _show_remarks(stack: Stack) -> None:
    """Say which variables the services ignore, but those that the command has named already."""
    remarks = dict.fromkeys(remark for service in stack.services.values() for remark in service.remarks())
    for remark in remarks.keys() - set(mistyped_variables()):
        notes.print(as_text(remark), style="yellow", soft_wrap=True)


def _await_end(stack: Stack, ends: SimpleQueue[str | None]) -> str | None:
    """Wait for the first end: None where a signal asked for it, and how it came where a service ended by itself."""

    def watch(service: ServiceProcess) -> None:
        code = service.wait()
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        ends.put(f"{service.service.module} {how}; its log is {service.log_file}")

    for service in stack.services.values():
        threading.Thread(target=watch, args=(service,), daemon=True).start()
    return take(ends)
