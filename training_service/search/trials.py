"""What the trials of a search say: their points, the best of them, the time that another one would take. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from model_store.records.job_lifecycle import ENDED, JobState
from model_store.records.jobs import SEARCH_ENDED, TrainingJob
from training_service.recipes.recipe import RecipeName
from training_service.search.sampling import Point, Told
from training_service.search.space import RecipeSpace


def point_of(trial: TrainingJob, spaces: Sequence[RecipeSpace]) -> Point:
    """Return the place of a trial in the space, by its recipe."""
    recipe = trial.spec.recipe
    space = next(each for each in spaces if each.name == recipe["name"])
    return Point(space.name, {key: recipe[key] for key in space.dimensions})


def counted(trials: Sequence[TrainingJob]) -> Sequence[TrainingJob]:
    """Return the trials without those that ended because the search did: if it goes on, they are tried again."""
    return [trial for trial in trials if trial.trial is None or trial.trial.stopped != SEARCH_ENDED]


def told_of(trials: Sequence[TrainingJob], spaces: Sequence[RecipeSpace]) -> tuple[Told, ...]:
    """Return the trials that made a version, and those that still run; others say nothing of their points."""
    return tuple(
        Told(point_of(trial, spaces), trial.validated.metric)
        for trial in trials
        if trial.state not in ENDED or trial.validated.metric is not None
    )


def by_quality(trials: Sequence[TrainingJob]) -> Sequence[TrainingJob]:
    """Return the trials that made a version, the best first: by metric, then by loss, then by number."""
    made = [trial for trial in trials if trial.state is JobState.SUCCEEDED and trial.validated.metric is not None]
    return sorted(made, key=_rank)


def _rank(trial: TrainingJob) -> tuple[float, float]:
    metric, loss = trial.validated.metric, trial.validated.loss
    return (-metric if metric is not None else float("inf"), loss if loss is not None else float("inf"))


def seconds_by_recipe(trials: Sequence[TrainingJob]) -> Mapping[RecipeName, float]:
    """Return the longest time that a trial of each recipe took, of those that ended by themselves."""
    found: dict[RecipeName, float] = {}
    for trial in trials:
        for seconds in _seconds(trial):
            name = RecipeName(trial.spec.recipe["name"])
            found[name] = max(seconds, found.get(name, 0.0))
    return found


def mean_seconds(trials: Sequence[TrainingJob]) -> float | None:
    """Return the mean time of the trials that ended by themselves; None without any."""
    found = [seconds for trial in trials for seconds in _seconds(trial)]
    return sum(found) / len(found) if found else None


def _seconds(trial: TrainingJob) -> Iterator[float]:
    if trial.state in {JobState.SUCCEEDED, JobState.FAILED} and trial.started_at and trial.ended_at:
        yield (trial.ended_at - trial.started_at).total_seconds()
