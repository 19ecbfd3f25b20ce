"""`maas predict`: ask a served model about files, or about the rows of a CSV file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import grpc
import typer

from maas_client.client import Client
from maas_client.failures import CommandFailed, explain
from maas_client.transfers.predicting import Answer, predict_all
from maas_client.transfers.questions import questions_of
from maas_client.typed.numbers import INT32_MAX
from maas_client.views.output import AsJson, as_text, notes, out, print_json, print_table
from maas_client.views.prediction import prediction_text


def predict(
    model: Annotated[str, typer.Argument(help="flowers, flowers@production or flowers/3.")],
    files: Annotated[list[Path], typer.Argument(help="Photos, folders of them, or CSV files of numbers.")],
    top_k: Annotated[
        int, typer.Option(min=0, max=INT32_MAX, help="Classification: labels for each example; 0 means the best five.")
    ] = 0,
    columns: Annotated[str, typer.Option(help="CSV: columns to send, such as length,width; default: all.")] = "",
    *,
    as_json: AsJson = False,
) -> None:
    """Ask a served model about examples; exit with 1 where one of them has no answer."""
    questions = list(questions_of(files, [each.strip() for each in columns.split(",") if each.strip()]))
    if not questions:
        raise CommandFailed("there are no files in there: name files, or a folder that has some")
    with Client() as client, notes.status(f"predicting {len(questions):,} examples"):
        found, failure = _until_failure(predict_all(client, model, questions, top_k))
    if as_json:
        print_json([_plain(each) for each in found])
    else:
        _show(found)
    wrong = [each for each in found if each.error]
    for each in wrong:
        notes.print("[bold red]error[/]", as_text(f"{each.name}: {each.error}"), highlight=False, soft_wrap=True)
    if failure is not None:
        rest = f"{len(questions) - len(found)} of {len(questions)} examples have no answer\n" if found else ""
        raise CommandFailed(f"{rest}{explain(failure)}") from failure
    if wrong:
        raise CommandFailed(f"{len(wrong)} of {len(questions)} examples could not be used")


def _until_failure(answers: Iterator[Answer]) -> tuple[list[Answer], grpc.RpcError | None]:
    """Return what was answered before a request failed, and its failure."""
    found: list[Answer] = []
    try:
        for each in answers:
            found.append(each)  # noqa: PERF402  what came before a failure stays
    except grpc.RpcError as error:
        return found, error
    return found, None


def _show(found: Sequence[Answer]) -> None:
    rows = [(each.name, prediction_text(each.prediction)) for each in found if each.prediction is not None]
    if not rows:
        return
    print_table("", ["example", "answer"], rows, "")
    versions = dict.fromkeys(each.version for each in found if each.version)
    out.print(f"answered by {', '.join(versions)}")


def _plain(each: Answer) -> dict[str, Any]:
    if each.prediction is None:
        return {"example": each.name, "error": each.error}
    kind = each.prediction.WhichOneof("result") or "prediction"
    return {"example": each.name, "version": each.version, kind: getattr(each.prediction, kind)}
