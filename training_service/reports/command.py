"""The command that does a job again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from model_store.records.jobs import NO_BASE, JobSpec
from model_store.records.promotion import DEFAULT_MIN_ROWS, DEFAULT_SHADOW_MIN_ROWS, PromotionSpec, Requirement
from training_service.recipes.recipe import DEFAULTS, Recipe


def finetune_command(spec: JobSpec) -> str:
    """Return the shell command; what is the recipe's own default is left out."""
    words = ["maas", "finetune", f"datasets/{spec.dataset_id}", "--base", _base(spec), "--model", spec.model_id]
    words += ["--recipe", str(spec.recipe["name"]), *_settings(Recipe.from_json(spec.recipe))]
    words += ["--alias", spec.alias] if spec.alias is not None else []
    words += _promotion(spec.promote) if spec.promote is not None else []
    return shlex.join([*words, "--seed", str(spec.seed)])


def _base(spec: JobSpec) -> str:
    """Return the base; `auto` where the job ended before one was chosen."""
    return "auto" if spec.base == NO_BASE else str(spec.base)


def _promotion(spec: PromotionSpec) -> Iterator[str]:
    yield from ("--promote", spec.alias, "--metric", spec.metric)
    if spec.threshold is not None:
        yield from ("--threshold", str(spec.threshold))
    if spec.min_delta:
        yield from ("--min-delta", str(spec.min_delta))
    if spec.shadow_seconds:
        yield from ("--shadow-for", str(spec.shadow_seconds))
    if spec.min_rows != DEFAULT_MIN_ROWS:
        yield from ("--min-rows", str(spec.min_rows))
    if spec.shadow_min_rows != DEFAULT_SHADOW_MIN_ROWS:
        yield from ("--shadow-min-rows", str(spec.shadow_min_rows))
    if spec.require is not Requirement.NOT_WORSE:
        yield from ("--require", str(spec.require))


def _settings(recipe: Recipe) -> Iterator[str]:
    defaults = DEFAULTS[recipe.name].to_json()
    for name, value in recipe.settings().items():
        if value != defaults.get(name):
            yield from _option(name, value)


def _option(name: str, value: object) -> tuple[str, ...]:
    option = name.replace("_", "-")
    if isinstance(value, bool):
        return (f"--{option}" if value else f"--no-{option}",)
    return f"--{option}", str(value)
