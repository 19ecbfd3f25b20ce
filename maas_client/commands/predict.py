"""`maas predict`: classify photos with a served model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from maas_client.client import Client
from maas_client.output import AsJson, out, print_json, print_table

_PER_REQUEST = 32


def predict(
    model: Annotated[str, typer.Argument(help="flowers, flowers@production or flowers/3.")],
    files: Annotated[list[Path], typer.Argument(exists=True, dir_okay=False, help="Photos.")],
    top_k: Annotated[int, typer.Option(min=0, help="Labels for each photo; 0 means the best five.")] = 0,
    *,
    as_json: AsJson = False,
) -> None:
    """Classify photos with a served model."""
    with Client() as client:
        batches = [files[start : start + _PER_REQUEST] for start in range(0, len(files), _PER_REQUEST)]
        answers = [(batch, client.predict(model, batch, top_k=top_k)) for batch in batches]
    if as_json:
        print_json(
            [
                {"file": str(file), "version": answer.version, "scores": list(prediction.scores)}
                for batch, answer in answers
                for file, prediction in zip(batch, answer.predictions, strict=True)
            ]
        )
        return
    rows = [
        (file, "  ".join(f"{score.label} {score.score:.3f}" for score in prediction.scores))
        for batch, answer in answers
        for file, prediction in zip(batch, answer.predictions, strict=True)
    ]
    print_table("", ["file", "labels, best first"], rows, "no files")
    out.print(f"answered by {answers[-1][1].version}")
