"""The section of a report on a search that says what each trial tried, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from model_store.records.jobs import TrainingJob
from training_service.markup.sections import Table
from training_service.recipes.recipe import Recipe
from training_service.reports.facts import JobFacts


@dataclass(frozen=True)
class Trials:
    """The trials of a search, by their numbers."""

    heading: ClassVar[str] = "Trials"
    template: ClassVar[str] = "reports/searching/trials.html"
    table: Table


def trials(facts: JobFacts) -> Trials | None:
    """Return the trials; None for a job that is no search, or has none."""
    if not facts.trials or facts.task is None:
        return None
    settings = [_settings(each) for each in facts.trials]
    differing = _differing(settings)
    title = facts.task.metrics[facts.task.headline].title
    columns = ("Trial", "State", "Recipe", *differing, f"Validation {title}", "Validation loss", "Why it ended")
    rows = [_row(each, found, differing) for each, found in zip(facts.trials, settings, strict=True)]
    return Trials(Table("What each trial tried, and what came of it", columns, rows, "trials"))


def _settings(trial: TrainingJob) -> Mapping[str, Any]:
    """Return the hyperparameters that a trial's recipe reads."""
    recipe = Recipe.from_json(trial.spec.recipe)
    return {key: value for key, value in recipe.settings().items() if key not in recipe.unused}


def _differing(settings: Sequence[Mapping[str, Any]]) -> Sequence[str]:
    """Return the hyperparameters that have two values or more among the trials that read them."""
    names = dict.fromkeys(key for each in settings for key in each)
    return [name for name in names if len({each[name] for each in settings if name in each}) > 1]


def _row(trial: TrainingJob, settings: Mapping[str, Any], differing: Sequence[str]) -> list[str]:
    number = trial.trial.number if trial.trial is not None else 0
    stopped = trial.trial.stopped if trial.trial is not None else ""
    values = [_text(settings.get(name)) for name in differing]
    found = [_text(trial.validated.metric), _text(trial.validated.loss)]
    why = stopped or (trial.error.message if trial.error is not None else "")
    return [str(number), str(trial.state), str(trial.spec.recipe["name"]), *values, *found, why]


def _text(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
