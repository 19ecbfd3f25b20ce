"""`maas predict`: classify photos with a served model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import grpc
import typer

from maas_client.client import Client
from maas_client.failures import CommandFailed, explain
from maas_client.transfers.classifying import Classified, classify, files_of
from maas_client.typed.numbers import INT32_MAX
from maas_client.views.output import AsJson, as_text, notes, out, print_json, print_table


def predict(
    model: Annotated[str, typer.Argument(help="flowers, flowers@production or flowers/3.")],
    files: Annotated[list[Path], typer.Argument(help="Photos, and folders of them.")],
    top_k: Annotated[int, typer.Option(min=0, max=INT32_MAX, help="Labels for each photo; 0 means the best five.")] = 0,
    *,
    as_json: AsJson = False,
) -> None:
    """Classify photos with a served model; exit with 1 where one of them cannot be classified."""
    photos = list(files_of(files))
    if not photos:
        raise CommandFailed("there are no photos in there: name files, or a folder that has some")
    with Client() as client, notes.status(f"classifying {len(photos):,} photos"):
        found, failure = _until_failure(classify(client, model, photos, top_k))
    if as_json:
        print_json([_plain(each) for each in found])
    elif found:
        _show(found)
    wrong = [each for each in found if each.error]
    for each in wrong:
        notes.print("[bold red]error[/]", as_text(f"{each.file}: {each.error}"), highlight=False, soft_wrap=True)
    if failure is not None:
        rest = f"{len(photos) - len(found)} of {len(photos)} photos have no answer\n" if found else ""
        raise CommandFailed(f"{rest}{explain(failure)}") from failure
    if wrong:
        raise CommandFailed(f"{len(wrong)} of {len(photos)} photos could not be classified")


def _until_failure(answers: Iterator[Classified]) -> tuple[list[Classified], grpc.RpcError | None]:
    """Return what was answered before a request failed, and its failure."""
    found: list[Classified] = []
    try:
        for each in answers:
            found.append(each)  # noqa: PERF402  what came before a failure stays
    except grpc.RpcError as error:
        return found, error
    return found, None


def _show(found: Sequence[Classified]) -> None:
    rows = [
        (each.file, "  ".join(f"{score.label} {score.score:.3f}" for score in each.scores))
        for each in found
        if not each.error
    ]
    if not rows:
        return
    print_table("", ["file", "labels, best first"], rows, "")
    versions = dict.fromkeys(each.version for each in found if each.version)
    out.print(f"answered by {', '.join(versions)}")


def _plain(each: Classified) -> dict[str, object]:
    if each.error:
        return {"file": str(each.file), "error": each.error}
    return {"file": str(each.file), "version": each.version, "scores": list(each.scores)}
