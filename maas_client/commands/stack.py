"""`maas up`: both services on this machine, until Ctrl-C."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

from maas_client.failures import CommandFailed
from maas_client.output import notes, out
from maas_client.processes import Stack


def up(
    home: Annotated[Path, typer.Option(envvar="MAAS_HOME", help="Folder of the store, the logs and the blobs.")] = Path(
        "~/.maas"
    ),
) -> None:
    """Start the training and the inference service on this machine; Ctrl-C stops both."""
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    with Stack(home.expanduser()) as stack:
        with notes.status("starting both services"):
            stack.start()
            settings = stack.await_serving()
        out.print(f"training   {settings.training_address}")
        out.print(f"inference  {settings.inference_address}")
        out.print(f"store      {home.expanduser()}  (logs below run/)")
        out.print("Ctrl-C stops both")
        ended = _await_end(stack, stopping)
        with notes.status("stopping"):
            stack.stop()
    if ended is not None:
        raise CommandFailed(f"{ended} ended on its own: see its log below {home.expanduser() / 'run'}")
    out.print("stopped")


def _await_end(stack: Stack, stopping: threading.Event) -> str | None:
    """Wait for the stop signal, or return the name of a service that ended by itself."""
    ended: list[str] = []

    def watch(name: str) -> None:
        stack.services[name].wait()
        ended.append(name)
        stopping.set()

    for name in stack.services:
        threading.Thread(target=watch, args=(name,), daemon=True).start()
    asked = stopping.wait()
    return ended[0] if asked and ended else None
