"""Says in words what a search will try, and what came of each trial."""

from __future__ import annotations

from model_store.records.job_lifecycle import JobState
from model_store.records.jobs import TrainingJob
from training_service.search.sampling import Point
from training_service.search.space import Choices, Range, RecipeSpace, Search


def plan_text(search: Search) -> str:
    """Say what a search will try, and within which limits."""
    limit = f" within {_duration(search.limit_seconds)}" if search.limit_seconds is not None else ""
    spaces = "; ".join(_space_text(space) for space in search.recipes)
    return f"tries at most {search.max_trials} trials{limit}: {spaces}"


def trial_text(trial: TrainingJob, point: Point, metric: str, *, is_best: bool) -> str:
    """Say what came of a trial that has ended."""
    number = trial.trial.number if trial.trial is not None else 0
    values = ", ".join(f"{key} {_shown(value)}" for key, value in point.values.items())
    what = f"trial {number}: {point.name}{f' with {values}' if values else ''}"
    if trial.state is JobState.SUCCEEDED and trial.validated.metric is not None:
        return f"{what}: validation {metric} {trial.validated.metric:.4f}{', the best so far' if is_best else ''}"
    reason = trial.error.message if trial.error is not None else (trial.trial.stopped if trial.trial else "")
    return f"{what}: {trial.state}{f', {reason}' if reason else ''}"


def _space_text(space: RecipeSpace) -> str:
    values = ", ".join(f"{key} {_dimension_text(each)}" for key, each in space.dimensions.items())
    return f"{space.name} ({values})" if values else str(space.name)


def _dimension_text(dimension: Range | Choices) -> str:
    if isinstance(dimension, Choices):
        return " | ".join(_shown(value) for value in dimension.values)
    return f"{dimension.low:g} to {dimension.high:g}"


def _shown(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value).lower()


def _duration(seconds: float) -> str:
    return f"{seconds / 60:g} minutes" if seconds >= 120 else f"{seconds:g} seconds"
