"""The trials of a search as a table: what each tried, and what came of it."""

from __future__ import annotations

from typing import Any

from maas.training.v1 import training_pb2 as pb

from grpc_runtime.leaf_fields import leaf_fields
from maas_client.calls.jobs import state_text
from maas_client.client import Client
from maas_client.typed.shorthand import id_of
from maas_client.views.output import metric, print_table

_SHORT = 8


def show_trials(client: Client, job: pb.TrainingJob) -> None:
    """Print the trials of a search, by their numbers; nothing for any other job."""
    if not job.HasField("search"):
        return
    trials = list(client.trials(job.name))
    varied = dict.fromkeys(dimension.name for space in job.search.recipes for dimension in space.dimensions)
    values = [_values(trial.recipe) for trial in trials]
    rows = [
        (
            str(trial.trial.number),
            id_of(trial.name)[:_SHORT],
            state_text(trial.state).lower(),
            str(trial.recipe.WhichOneof("recipe")),
            *(_text(found.get(key)) for key in varied),
            metric(trial.validation_metric) if trial.HasField("validation_metric") else "",
            trial.trial.stop_reason or trial.error.message,
        )
        for trial, found in zip(trials, values, strict=True)
    ]
    columns = ["trial", "job", "state", "recipe", *varied, "validation", "why it ended"]
    if not any(row[-1] for row in rows):
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    print_table("trials", columns, rows, "no trial has begun yet")


def _values(recipe: pb.Recipe) -> dict[str, Any]:
    settings = getattr(recipe, recipe.WhichOneof("recipe") or "auto")
    return {key: leaf.read(settings) for key, leaf in leaf_fields(type(settings)).items()}


def _text(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, float) else str(value).lower()
