"""How far a fine-tune is: what its steps report, put together into one figure for the whole job."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from training_service.phases import Phase
from training_service.tasks import TrainingTask
from training_service.tasks.training_task import Validation


@dataclass(frozen=True)
class Progress:
    """One report; the fields are those of maas.training.v1.Progress, but for the time left."""

    phase: Phase
    fraction_done: float = 0.0
    epoch: int = 0
    epoch_count: int = 0
    loss: float | None = None
    metric_name: str = ""
    validation_metric: float | None = None
    validation_loss: float | None = None
    examples_per_second: float = 0.0
    seconds_left: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, without what is unknown or no finite number: JSON knows none of these."""
        return {key: value for key, value in asdict(self).items() if _is_known(value)}


def _is_known(value: str | float | None) -> bool:
    return value is not None and (isinstance(value, str) or math.isfinite(value))


@dataclass(frozen=True)
class Figures:
    """How well it goes: `epoch` counts from 1; validation figures come at an epoch's end and after a fit.

    `metric_name` names the metric of the task that `validation_metric` is a value of.
    """

    epoch: int = 0
    epoch_count: int = 0
    loss: float | None = None
    metric_name: str = ""
    validation_metric: float | None = None
    validation_loss: float | None = None

    def validated(self, task: TrainingTask, found: Validation) -> Self:
        """Return the figures with those of validation rows."""
        return replace(self, metric_name=task.headline, validation_metric=found.metric, validation_loss=found.loss)


class ProgressMeter:
    """Turns work done within phases into progress of the whole.

    `weights` are the phases in their order, each with the share of the time that it is expected to take; `emit` gets a
    few reports a second at most, and every one that is a milestone.
    """

    def __init__(
        self,
        weights: Mapping[Phase, float],
        emit: Callable[[Progress], None],
        *,
        started: float | None = None,
        interval_seconds: float = 0.4,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin at once, or at `started`, by the clock, where the first phase began before."""
        self._weights = weights
        self._emit = emit
        self._interval = interval_seconds
        self._clock = clock
        self._started = self._emitted = clock()
        self._phase, self._phase_started = Phase.DECODING, self._started
        self._started = self._started if started is None else started
        self._num_items, self._of_examples = 0, True

    def muted(self) -> ProgressMeter:
        """Return a meter of the same phases that tells nobody."""
        return ProgressMeter(self._weights, lambda _: None, interval_seconds=self._interval, clock=self._clock)

    def begin(self, phase: Phase, num_items: int, *, of_examples: bool = True) -> None:
        """Open a phase of so many examples, or of so many other things, which have no rate."""
        self._phase, self._phase_started = phase, self._clock()
        self._num_items, self._of_examples = num_items, of_examples
        self.report(0, is_milestone=True)

    def report(self, num_done: int, figures: Callable[[], Figures] = Figures, *, is_milestone: bool = False) -> None:
        """Say how much of the phase is done; `figures` is asked only if somebody is told, as it may take a while."""
        now = self._clock()
        if is_milestone or now - self._emitted >= self._interval:
            self._emitted = now
            self._emit(self._progress(now, num_done, figures()))

    def _progress(self, now: float, num_done: int, figures: Figures) -> Progress:
        fraction = self._fraction_done(num_done / max(self._num_items, 1))
        return Progress(
            phase=self._phase,
            fraction_done=fraction,
            examples_per_second=num_done / max(now - self._phase_started, 1e-6) if self._of_examples else 0.0,
            seconds_left=(now - self._started) * (1 - fraction) / fraction if fraction > 0 else 0.0,
            **asdict(figures),
        )

    def _fraction_done(self, of_phase: float) -> float:
        before = itertools.takewhile(lambda phase: phase != self._phase, self._weights)
        done = sum(self._weights[phase] for phase in before) + self._weights[self._phase] * of_phase
        return done / sum(self._weights.values())
