"""Keeps the trials of a search going: looks at them, tells what came of each, and queues the next ones."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from model_store.records.job_lifecycle import ENDED
from model_store.records.jobs import JobUrgency, TrainingJob
from model_store.records.resources import Dataset
from model_store.registry.jobs import Claim
from model_store.registry.searches import SearchStore
from training_service.phases import Phase
from training_service.search.checks import first_values, recipe_of
from training_service.search.clock import SearchClock
from training_service.search.sampling import Point, suggest
from training_service.search.space import Search
from training_service.search.trials import by_quality, counted, mean_seconds, point_of, seconds_by_recipe, told_of
from training_service.search.words import trial_text
from training_service.tasks import TRAINING_TASKS
from training_service.training.progress import Progress

_PROGRESS_SECONDS = 5.0


@dataclass
class TrialQueue:
    """The trials of one claimed search, `num_at_once` at a time; `tell` and `emit` add to the job's events."""

    searches: SearchStore
    claim: Claim
    job: TrainingJob
    search: Search
    dataset: Dataset
    clock: SearchClock
    num_at_once: int
    tell: Callable[[str], None]
    emit: Callable[[Progress], None]
    _told: set[str] | None = None
    _emitted: float = field(default=-math.inf)

    def goes_on(self) -> bool:
        """Look at the trials and queue more where there is room; say whether any is left to wait for."""
        trials = self.searches.trials(self.job.id)
        self._tell_ended(trials)
        if self.clock.seconds_left <= 0:
            return False
        started = self._start(trials)
        self._report(trials)
        return started or any(trial.state not in ENDED for trial in trials)

    def _start(self, trials: Sequence[TrainingJob]) -> bool:
        """Queue trials until enough of them are open, and say whether one was."""
        all_trials = list(trials)
        while sum(trial.state not in ENDED for trial in all_trials) < self.num_at_once:
            point = self._next_point(counted(all_trials))
            if point is None:
                break
            all_trials.append(self._queued(point, len(all_trials) + 1))
        return len(all_trials) > len(trials)

    def _next_point(self, trials: Sequence[TrainingJob]) -> Point | None:
        """Return what to try next: the first values of each recipe in turn, then those that the estimator suggests."""
        if len(trials) >= self.search.max_trials:
            return None
        spaces, left, seconds = self.search.recipes, self.clock.seconds_left, seconds_by_recipe(trials)
        allowed = {space.name for space in spaces if seconds.get(space.name, 0.0) <= left}
        tried = [point_of(trial, spaces) for trial in trials]
        firsts = [Point(each.name, first_values(each, self.dataset)) for each in spaces if each.name in allowed]
        first = next((point for point in firsts if point not in tried), None)
        if first is not None or not allowed:
            return first
        return suggest(spaces, told_of(trials, spaces), tried, self.job.spec.seed, allowed)

    def _queued(self, point: Point, number: int) -> TrainingJob:
        space = next(each for each in self.search.recipes if each.name == point.name)
        recipe = recipe_of(space, point.values, "search", None, self.dataset)
        own = self.job.spec.urgency
        spec = replace(
            self.job.spec,
            recipe=recipe.to_json(),
            alias=None,
            urgency=JobUrgency(own.priority, None, own.max_failures),
            promote=None,
            asked_recipe=None,
            search=None,
        )
        return self.searches.add_trial(self.claim, spec, number)

    def _tell_ended(self, trials: Sequence[TrainingJob]) -> None:
        """Tell of each trial that has ended since the last look; those of an earlier attempt were told of."""
        ended = [trial for trial in trials if trial.state in ENDED]
        if self._told is None:
            self._told = {trial.id for trial in ended}
        for trial in ended:
            if trial.id not in self._told:
                self._told.add(trial.id)
                best = by_quality([each for each in trials if each.id in self._told])
                is_best = bool(best) and best[0].id == trial.id
                self.tell(trial_text(trial, point_of(trial, self.search.recipes), self._metric, is_best=is_best))
                self._emitted = -math.inf

    def _report(self, trials: Sequence[TrainingJob]) -> None:
        now = time.monotonic()
        if now - self._emitted < _PROGRESS_SECONDS:
            return
        self._emitted = now
        best, seconds_left = by_quality(trials), self._seconds_left(trials)
        spent = self.clock.seconds_spent
        self.emit(
            Progress(
                Phase.SEARCHING,
                fraction_done=spent / (spent + seconds_left) if seconds_left is not None else 0.0,
                metric_name=self._metric if best else "",
                validation_metric=best[0].validated.metric if best else None,
                seconds_left=seconds_left or 0.0,
            )
        )

    def _seconds_left(self, trials: Sequence[TrainingJob]) -> float | None:
        """Return how long the search goes on: until all trials are done, or until the limit; None if nobody knows."""
        mean, limit = mean_seconds(trials), self.clock.seconds_left
        if mean is None:
            return limit if math.isfinite(limit) else None
        ended = [trial for trial in counted(trials) if trial.state in ENDED]
        return min((self.search.max_trials - len(ended)) * mean / self.num_at_once, limit)

    @property
    def _metric(self) -> str:
        return TRAINING_TASKS[self.dataset.summary["task"]].headline
