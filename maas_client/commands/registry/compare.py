"""`maas compare`: two versions side by side."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer
from maas.model_store.v1 import model_store_pb2 as pb

from maas_client.client import Client
from maas_client.typed.shorthand import id_of, short_name
from maas_client.views.metrics import metric_name
from maas_client.views.output import AsJson, as_text, metric, out, print_json, print_table, size

Difference = pb.CompareModelVersionsResponse.Difference
RowComparison = pb.CompareModelVersionsResponse.RowComparison
_SHOWN_DIGITS = 12


def compare(
    first: Annotated[str, typer.Argument(help="flowers/3, flowers@production, or flowers.")],
    second: Annotated[str, typer.Argument(help="What to compare to it, of the same model or another.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Say what changed from one version to another: metrics, stages, hyperparameters, labels."""
    with Client() as client:
        answer = client.compare(first, second)
        if as_json:
            print_json(answer)
            return
        versions = [client.version(name) for name in (answer.first, answer.second)]
    names = [short_name(version.name) for version in versions]
    if answer.metrics_obstacle:
        out.print(as_text(f"metrics are not compared: {answer.metrics_obstacle}"))
        if dataset := versions[1].lineage.dataset:
            commands = (f"`maas evaluate {name} --dataset {id_of(dataset)} --held-out`" for name in names)
            out.print(as_text(f"compare them on rows of one dataset: {', '.join(commands)}"))
    else:
        rows = [_metric_row(each) for each in answer.metrics]
        title = f"metrics on {_rows_text(answer.rows)}" if answer.metrics_of_common_rows else "metrics"
        print_table(title, ["metric", *names, "difference"], rows, "neither has metrics")
    if answer.HasField("rows"):
        out.print(as_text(_noise_text(answer.rows)), highlight=False)
    sizes = {stage.digest: stage.size_bytes for version in versions for stage in version.stages}
    stages = [(each.name, *(_stage(digest, sizes) for digest in (each.first, each.second))) for each in answer.stages]
    print_table("changed stages", ["stage", *names], stages, "every stage is the same")
    _print_differences("hyperparameters", names, answer.hyperparameters)
    _print_differences("input and head", names, answer.manifest)
    for what, labels in (("added", answer.added_labels), ("removed", answer.removed_labels)):
        if labels:
            out.print(as_text(f"labels {what}: {', '.join(labels)}"))
    out.print(f"{names[1]} shares {size(answer.shared_bytes)} of its {size(versions[1].size_bytes)}", highlight=False)


def _metric_row(each: pb.CompareModelVersionsResponse.MetricDifference) -> tuple[str, str, str, str]:
    first = metric(each.first) if each.HasField("first") else ""
    second = metric(each.second) if each.HasField("second") else ""
    return each.name, first, second, f"{each.second - each.first:+.4g}" if first and second else ""


def _rows_text(rows: RowComparison) -> str:
    what = "left out in cross-validation" if rows.cross_validated else "that neither learned from"
    return f"{rows.row_count} rows {what}"


def _noise_text(rows: RowComparison) -> str:
    noise = "larger" if rows.larger_than_noise else "smaller"
    test = f"p = {rows.p_value:.2g} by McNemar's exact test, " if rows.HasField("p_value") else ""
    return (
        f"row by row, on {_rows_text(rows)}: {metric_name(rows.metric)} {metric(rows.first)} and "
        f"{metric(rows.second)}; the difference of {rows.second - rows.first:+.4g} is {noise} than noise ({test}"
        f"95 % interval {rows.interval.low:+.4g} to {rows.interval.high:+.4g})"
    )


def _stage(digest: str, sizes: dict[str, int]) -> str:
    return f"{size(sizes[digest])}  {digest[:_SHOWN_DIGITS]}" if digest else ""


def _print_differences(title: str, names: list[str], differences: Iterable[Difference]) -> None:
    rows = [(each.name, each.first, each.second) for each in differences]
    if rows:
        print_table(title, ["", *names], rows, "")
