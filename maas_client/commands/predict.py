"""`maas predict`: classify photos with a served model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import grpc
import typer
from maas.inference.v1 import inference_pb2

from maas_client.client import Client
from maas_client.failures import CommandFailed
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
        answers = [(batch, _predict(client, model, batch, top_k)) for batch in batches]
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


def _predict(client: Client, model: str, files: Sequence[Path], top_k: int) -> inference_pb2.PredictResponse:
    """Ask for one batch; where an image is refused, say which file it is."""
    try:
        return client.predict(model, files, top_k=top_k)
    except grpc.RpcError as error:
        details = error.details() if isinstance(error, grpc.Call) else None
        if details is None or not re.search(r"images\[\d+\]", details):
            raise
        named = re.sub(r"images\[(\d+)\](\.\w+)*", lambda found: str(files[int(found[1])]), details)
        raise CommandFailed(named) from error
