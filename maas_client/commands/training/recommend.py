"""`maas recommend`: which base suits a dataset, before any training."""

from __future__ import annotations

from typing import Annotated

import typer
from maas.training.v1 import training_pb2 as pb

from maas_client.client import Client
from maas_client.typed.numbers import finite
from maas_client.typed.shorthand import short_name
from maas_client.views.job import phase_text
from maas_client.views.output import AsJson, print_json
from maas_client.views.progress import share_bar
from maas_client.views.recommendation import show_recommendation


def recommend(
    dataset: Annotated[str, typer.Argument(help="Id of the dataset.")],
    base: Annotated[list[str] | None, typer.Option(help="Compare this base alone; repeat it for several.")] = None,
    *,
    max_latency_ms: Annotated[
        float | None, typer.Option(min=0, callback=finite, help="What one row may take at most.")
    ] = None,
    max_size_mb: Annotated[
        float | None,
        typer.Option(min=0, callback=finite, help="How large the tensors may be, in 1,000,000 bytes."),
    ] = None,
    max_training_minutes: Annotated[
        float | None, typer.Option(min=0, callback=finite, help="What the quickest recipe may take.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare bases on a dataset, before any training, and recommend one."""
    with Client() as client, share_bar("comparing") as show:

        def on_progress(progress: pb.RecommendBasesResponse.Progress) -> None:
            show(f"{short_name(progress.base)}: {phase_text(progress.phase)}", progress.fraction_done)

        found = client.recommend(
            dataset,
            bases=base or (),
            max_latency_ms=max_latency_ms,
            max_size_mb=max_size_mb,
            max_training_minutes=max_training_minutes,
            on_progress=on_progress,
        )
    if as_json:
        print_json(found)
        return
    show_recommendation(found)
