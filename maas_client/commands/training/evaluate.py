"""`maas evaluate`: how good any version is on any dataset."""

from __future__ import annotations

from typing import Annotated

import typer

from maas_client.client import Client
from maas_client.typed.shorthand import short_name
from maas_client.views.job import phase_text
from maas_client.views.metrics import show_metrics
from maas_client.views.output import AsJson, as_text, notes, out, print_json
from maas_client.views.progress import share_bar


def evaluate(
    version: Annotated[str, typer.Argument(help="flowers, flowers/3 or flowers@production.")],
    dataset: Annotated[str, typer.Option(help="Id of the dataset; default: the one it was trained on.")] = "",
    split: Annotated[str, typer.Option(help="train, validation, test or all.")] = "test",
    *,
    allow_unknown_labels: Annotated[
        bool, typer.Option("--allow-unknown-labels", help="Count examples of labels that the version lacks as wrong.")
    ] = False,
    held_out: Annotated[
        bool, typer.Option("--held-out", help="Leave out examples that the version, or a base of it, learned from.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Measure a version on any dataset, its own or another."""
    with Client() as client, share_bar("evaluating") as show:
        found = client.evaluate(
            version,
            dataset,
            split=split,
            allow_unknown_labels=allow_unknown_labels,
            held_out=held_out,
            on_progress=lambda progress: show(phase_text(progress.phase), progress.fraction_done),
        )
    if as_json:
        print_json(found)
        return
    title = f"{short_name(found.version)} on {found.dataset}, {found.metrics.split}: {found.metrics.row_count} examples"
    if found.warning:
        notes.print("[bold yellow]warning[/]", as_text(found.warning), highlight=False, soft_wrap=True)
    is_remembered = found.learned_row_count == found.metrics.row_count
    show_metrics(
        f"{title}, all of them learned from" if is_remembered else title, found.metrics, is_remembered=is_remembered
    )
    if held_out:
        out.print(f"left out: {found.left_out_row_count} examples that it learned from", highlight=False)
    if found.unknown_labels:
        out.print(as_text(f"the version lacks: {', '.join(found.unknown_labels)}; their examples count as wrong"))
