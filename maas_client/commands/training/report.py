"""`maas report`: one page about a training job, to look at and to pass on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from maas_client.client import Client
from maas_client.commands.job_names import JOB_HELP
from maas_client.typed.shorthand import id_of
from maas_client.views.browser import show_in_browser
from maas_client.views.output import as_text, notes, out


def report(
    job: Annotated[str, typer.Argument(help=JOB_HELP)],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; default: report-JOB.html.")
    ] = None,
    *,
    no_open: Annotated[bool, typer.Option("--no-open", help="Write the page and open no browser.")] = False,
) -> None:
    """Write a report on a training job as one HTML file, and open it in the browser."""
    with Client() as client, notes.status("evaluating, and writing the report"):
        name = client.job_name(job)
        html = client.report(name)
    path = output or Path(f"report-{id_of(name)}.html")
    path.write_text(html, encoding="utf-8")
    out.print(as_text(str(path)), soft_wrap=True)
    if not no_open:
        show_in_browser(path)
