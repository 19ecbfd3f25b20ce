"""`maas demo`: the whole main job on real photos, step by step; `maas photos`: its photos alone."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path
from typing import Annotated

import typer

from maas_client.failures import CommandFailed
from maas_client.views.output import AsJson, print_json
from model_store.extras import require


def demo(
    data: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="Your own photos: one sub-folder of images for each label."),
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder for the store, the logs and the contact sheet.")] = Path(
        "demo-output"
    ),
    *,
    as_json: AsJson = False,
) -> None:
    """Import a base, fine-tune it twice, hot-swap the versions under load, and show what came of it."""
    require("server", "maas demo")
    from maas_client.demo.photos import PhotosUnavailable
    from maas_client.demo.run import find_photos, run_demo, show_figures, show_next_steps
    from model_store.errors import StoreError

    # As Ctrl-C does: what was started is stopped on the way out.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        photos = find_photos(data)
        figures = run_demo(photos, output)
    except (PhotosUnavailable, StoreError, TimeoutError) as error:
        raise CommandFailed(str(error)) from error
    if as_json:
        print_json(figures)
    else:
        show_figures(figures)
        show_next_steps(output, next(path for path in sorted(photos.rglob("*")) if path.is_file()))


def photos(
    folder: Annotated[Path, typer.Argument(help="Folder to make: one sub-folder of photos for each label.")],
) -> None:
    """Write the demo's photos into a folder, as something to try the other commands with."""
    require("server", "maas photos")
    from maas_client.demo.photos import PhotosUnavailable
    from maas_client.demo.run import find_photos

    if folder.exists():
        raise CommandFailed(f"{folder} is there already: name a folder that is not")
    try:
        shutil.copytree(find_photos(None), folder)
    except PhotosUnavailable as error:
        raise CommandFailed(str(error)) from error
