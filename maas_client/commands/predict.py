"""`maas predict`: ask a served model about files, or about the rows of a CSV file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from maas_client.client import Client
from maas_client.errors import ServiceError
from maas_client.failures import CommandFailed, WrongUsage
from maas_client.scoring.scores_file import SUFFIXES
from maas_client.transfers.predicting import Answer
from maas_client.transfers.questions import questions_of
from maas_client.typed.numbers import INT32_MAX
from maas_client.views.output import AsJson, as_text, notes, out, print_json, print_table
from maas_client.views.prediction import prediction_text
from maas_client.views.progress import row_bar


def predict(
    model: Annotated[str, typer.Argument(help="flowers, flowers@production or flowers/3.")],
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Files, folders of them, or tables: .csv, .tsv, .jsonl, .parquet, - for standard input."),
    ] = None,
    text: Annotated[list[str] | None, typer.Option(help="A text; may be repeated.")] = None,
    top_k: Annotated[
        int, typer.Option(min=0, max=INT32_MAX, help="Classification: labels for each example; 0 means the best five.")
    ] = 0,
    columns: Annotated[
        str, typer.Option(help="Tables: columns to send, such as length,width; default: those that the version takes.")
    ] = "",
    output: Annotated[
        Path | None,
        typer.Option(help="Write the scores to this file, .csv or .jsonl; the same command goes on with a broken one."),
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Ask a served model about examples; exit with 1 where one of them has no answer."""
    chosen = [each.strip() for each in columns.split(",") if each.strip()]
    files, texts = files or [], text or []
    if not files and not texts:
        raise WrongUsage("name files, a folder, a table, or give a --text")
    if output is not None:
        if texts:
            raise WrongUsage("--text goes without --output: put texts into a table")
        _score(model, files, output, chosen, top_k)
        return
    with Client() as client, notes.status("predicting"):
        found, failure = _until_failure(client.predict_files(model, files, texts=texts, columns=chosen, top_k=top_k))
    if not found and failure is None:
        raise WrongUsage("there are no files in there: name files, or a folder that has some")
    if as_json:
        print_json([_plain(each) for each in found])
    else:
        _show(found)
    wrong = [each for each in found if each.error]
    for each in wrong:
        notes.print("[bold red]error[/]", as_text(f"{each.name}: {each.error}"), highlight=False, soft_wrap=True)
    if failure is not None:
        total = len(texts) + sum(1 for _ in questions_of(files, chosen))
        if found:
            notes.print(f"{total - len(found)} of {total} examples have no answer", highlight=False)
        raise failure
    if wrong:
        every = any(each.suffix.lower() == ".csv" for each in files) and not chosen
        hint = "Every column was sent: --columns names those that the model takes." if every else ""
        raise CommandFailed(f"{len(wrong)} of {len(found)} examples could not be used", hint=hint)


def _score(model: str, files: Sequence[Path], output: Path, columns: Sequence[str], top_k: int) -> None:
    """Write scores to a file, and say how many examples have none."""
    if top_k:
        raise WrongUsage("--top-k goes without --output: the file has the scores of all labels")
    if output.suffix.lower() not in SUFFIXES:
        raise WrongUsage(f"--output must end with {' or '.join(SUFFIXES)}, which {output} does not")
    total = files[0].stat().st_size if len(files) == 1 and files[0].is_file() else 0
    with Client() as client, row_bar(f"predicting {files[0]}", total) as advance:
        found = client.score_files(model, files, output, columns=columns, on_scored=advance)
    if found.num_errors:
        message = f"{found.num_errors:,} of {found.num_examples:,} examples have no answer"
        raise CommandFailed(message, hint=f"Each has its error in the last column of {output}.")
    out.print(f"{found.num_examples:,} examples answered by {found.version}: {output}", highlight=False, soft_wrap=True)


def _until_failure(answers: Iterator[Answer]) -> tuple[list[Answer], ServiceError | None]:
    """Return what was answered before a request failed, and its failure."""
    found: list[Answer] = []
    try:
        for each in answers:
            found.append(each)  # noqa: PERF402  what came before a failure stays
    except ServiceError as error:
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
