"""`maas recommend`: which base suits a dataset, before any training."""

from __future__ import annotations

from typing import Annotated

import typer
from google.protobuf.duration_pb2 import Duration
from maas.training.v1 import training_pb2 as pb
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from maas_client.client import Client
from maas_client.typed.numbers import finite
from maas_client.typed.shorthand import id_of, short_name
from maas_client.views.job import phase_text
from maas_client.views.metrics import metric_name
from maas_client.views.output import AsJson, as_text, notes, out, print_json, print_table

_MEGABYTE = 1_000_000
_COLUMNS = (
    "base",
    "recipe",
    "{metric}",
    "90 % interval",
    "ms a row",
    "ms for 32",
    "MB",
    "training",
    "kNN",
    "LogME",
    "H",
)
_DIAGNOSTICS = ("neighbours", "log_me", "h_score")
_ROWS_SHOWN = 5
_NO_BASE = "(none needed)"


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
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with (
        Client() as client,
        Progress(*columns, console=notes, transient=True, disable=not notes.is_terminal) as bar,
    ):
        task = bar.add_task("comparing", total=1.0)

        def on_progress(progress: pb.RecommendBasesResponse.Progress) -> None:
            text = f"{short_name(progress.base)}: {phase_text(progress.phase)}"
            bar.update(task, description=text, completed=progress.fraction_done)

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
    titles = [column.format(metric=metric_name(found.metric)) for column in _COLUMNS]
    title = f"{id_of(found.dataset)}: {found.row_count} rows, each answered by a head that was fitted without it"
    print_table(title, titles, [_row(each) for each in found.bases], "")
    for left_out in found.left_out_bases:
        out.print(as_text(f"left out: {short_name(left_out.base)}: {left_out.reason}"), soft_wrap=True)
    for each in found.advice:
        out.print(as_text(f"look at the data: {each.text}"), soft_wrap=True)
        for row in each.rows[:_ROWS_SHOWN]:
            out.print(as_text(f"  {row}"), soft_wrap=True)
    out.print(as_text(found.reason), soft_wrap=True)
    option = f" --base {short_name(found.chosen.base)}" if found.chosen.base else ""
    command = f"maas finetune {found.dataset}{option}{_recipe_options(found.chosen.recipe)}"
    out.print(as_text(f"to begin: {command}"), soft_wrap=True)


def _row(base: pb.RecommendedBase) -> list[str]:
    name = base.recipe.WhichOneof("recipe") or ""
    training = base.training_times[name]
    return [
        short_name(base.base) or _NO_BASE,
        _head(base.recipe) or name,
        f"{base.score:.3f}",
        f"{base.score_low:.3f} to {base.score_high:.3f}",
        f"{_milliseconds(base.row_latency):.3g}",
        f"{_milliseconds(base.batch_latency):.3g}",
        f"{base.size_bytes / _MEGABYTE:.3g}",
        _time_text(_milliseconds(training) / 1000),
        *(f"{base.diagnostics[each]:.3g}" if each in base.diagnostics else "" for each in _DIAGNOSTICS),
    ]


def _head(recipe: pb.Recipe) -> str:
    """Return the head that a recipe fits; empty where it is the linear one."""
    return recipe.fit_head.head.WhichOneof("kind") or "" if recipe.HasField("fit_head") else ""


def _recipe_options(recipe: pb.Recipe) -> str:
    head = _head(recipe)
    return f" --head {head}" if head else f" --recipe {recipe.WhichOneof('recipe')}"


def _milliseconds(duration: Duration) -> float:
    return float(duration.seconds * 1000 + duration.nanos / 1e6)


def _time_text(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds < 60 else f"{seconds / 60:.3g} min"
