"""`maas demo`: the whole main job on real data, step by step; `maas photos`: its photos alone."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path
from typing import Annotated

import typer

from maas_client.failures import CommandFailed, WrongUsage
from maas_client.views.output import AsJson, print_json
from model_store.extras import require

_IMAGES = "image"


def demo(
    data: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            help="Your own data: a folder with a sub-folder for each label, or a table whose last column is the label.",
        ),
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder for the store, the logs and the contact sheet.")] = Path(
        "demo-output"
    ),
    *,
    text: Annotated[bool, typer.Option("--text", help="Articles by topic, on a sentence encoder.")] = False,
    table: Annotated[bool, typer.Option("--table", help="Penguins by species: a table with missing cells.")] = False,
    audio: Annotated[bool, typer.Option("--audio", help="Spoken prompts by language, on a speech network.")] = False,
    as_json: AsJson = False,
) -> None:
    """Import a base, fine-tune it twice, hot-swap the versions under load, and show what came of it.

    On photos, unless an option names another modality.
    """
    chosen = [name for name, is_chosen in (("text", text), ("table", table), ("audio", audio)) if is_chosen]
    if len(chosen) > 1:
        raise WrongUsage(f"one demo at a time: {' and '.join(f'--{name}' for name in chosen)} exclude one another")
    require("server", "maas demo")
    from maas_client.demo.results import show_figures, show_next_steps
    from maas_client.demo.run import find_data, run_demo
    from maas_client.demo.subject import DataUnavailable
    from maas_client.demo.subjects import SUBJECTS
    from model_store.errors import StoreError

    subject = SUBJECTS[chosen[0] if chosen else _IMAGES]
    # As Ctrl-C does: what was started is stopped on the way out.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        found = find_data(subject, data)
        result = run_demo(subject, found, output)
    except (DataUnavailable, StoreError, TimeoutError) as error:
        raise CommandFailed(str(error)) from error
    if as_json:
        print_json(result.figures)
    else:
        subject.show(result.judged, result.title, output)
        show_figures(result.figures, subject)
        show_next_steps(output, subject, found)


def photos(
    folder: Annotated[Path, typer.Argument(help="Folder to make: one sub-folder of photos for each label.")],
) -> None:
    """Write the demo's photos into a folder, as something to try the other commands with."""
    require("server", "maas photos")
    from maas_client.demo.photos import PHOTOS
    from maas_client.demo.run import find_data
    from maas_client.demo.subject import DataUnavailable

    if folder.exists():
        raise CommandFailed(f"{folder} is there already: name a folder that is not")
    try:
        shutil.copytree(find_data(PHOTOS, None), folder)
    except DataUnavailable as error:
        raise CommandFailed(str(error)) from error
