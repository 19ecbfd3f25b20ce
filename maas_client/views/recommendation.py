"""A recommendation of bases, as a person reads it."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration
from maas.training.v1 import training_pb2 as pb

from maas_client.typed.shorthand import id_of, short_name
from maas_client.views.metrics import metric_name
from maas_client.views.output import as_text, out, print_table

_MEGABYTE = 1_000_000
_COLUMNS = ("base", "{metric}", "90 % interval", "ms a row", "MB", "train")
_DIAGNOSTICS = {"neighbours": "kNN", "log_me": "LogME", "h_score": "H-score"}
_ROWS_SHOWN = 5


def show_recommendation(found: pb.Recommendation) -> None:
    """Print the candidates, those that were left out, advice on the data, the reason and how to begin."""
    titles = [column.format(metric=metric_name(found.metric)) for column in _COLUMNS]
    title = f"{id_of(found.dataset)}: {found.row_count} rows, each answered by a head that was fitted without it"
    print_table(title, titles, [_row(each) for each in found.bases], "")
    further = ["base", "ms for 32", *_DIAGNOSTICS.values()]
    print_table("further figures, which decide nothing", further, [_further(each) for each in found.bases], "")
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
    """Write a candidate so that names of some twenty characters fit on 80 columns."""
    training = base.training_times[base.recipe.WhichOneof("recipe") or ""]
    return [
        _name(base),
        f"{base.score:.3f}",
        f"{base.score_low:.3f}-{base.score_high:.3f}",
        _number(_milliseconds(base.row_latency)),
        _number(base.size_bytes / _MEGABYTE),
        _time_text(_milliseconds(training) / 1000),
    ]


def _name(base: pb.RecommendedBase) -> str:
    """Return the version; without one the head, which is then what distinguishes the candidate."""
    return short_name(base.base) or _head(base.recipe)


def _further(base: pb.RecommendedBase) -> list[str]:
    found = base.diagnostics
    scores = [f"{found[each]:.3g}" if each in found else "" for each in _DIAGNOSTICS]
    return [_name(base), _number(_milliseconds(base.batch_latency)), *scores]


def _head(recipe: pb.Recipe) -> str:
    """Return the head that a recipe fits; empty where it is the linear one."""
    return recipe.fit_head.head.WhichOneof("kind") or "" if recipe.HasField("fit_head") else ""


def _recipe_options(recipe: pb.Recipe) -> str:
    head = _head(recipe)
    return f" --head {head}" if head else f" --recipe {recipe.WhichOneof('recipe')}"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _milliseconds(duration: Duration) -> float:
    return float(duration.seconds * 1000 + duration.nanos / 1e6)


def _time_text(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds < 60 else f"{seconds / 60:.3g} min"
