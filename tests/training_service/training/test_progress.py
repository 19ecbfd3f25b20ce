"""Progress of phases becomes progress of the job."""

from __future__ import annotations

import pytest

from training_service.phases import Phase
from training_service.training.progress import Figures, Progress, ProgressMeter


class Clock:
    """Time that the test moves."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_meter_adds_phases_up_and_keeps_quiet() -> None:
    """Half of the second phase is three quarters of the job; between reports, time must pass."""
    clock, seen = Clock(), list[Progress]()
    meter = ProgressMeter({Phase.DECODING: 1.0, Phase.TRAINING: 1.0}, seen.append, interval_seconds=1.0, clock=clock)
    meter.begin(Phase.DECODING, 10)
    clock.now += 3
    meter.begin(Phase.TRAINING, 20)
    meter.report(1)
    clock.now += 3
    meter.report(10, lambda: Figures(epoch=1, epoch_count=2, loss=0.5))
    assert [each.phase for each in seen] == [Phase.DECODING, Phase.TRAINING, Phase.TRAINING]
    assert seen[-1] == Progress(
        phase=Phase.TRAINING,
        fraction_done=0.75,
        epoch=1,
        epoch_count=2,
        loss=0.5,
        examples_per_second=pytest.approx(10 / 3),
        seconds_left=pytest.approx(2.0),
    )


def test_a_milestone_is_always_reported_and_nothing_else_asked() -> None:
    """Figures may have to be waited for, so those that nobody will see are left alone."""
    seen, asked = list[Progress](), list[int]()
    meter = ProgressMeter({Phase.TRAINING: 1.0}, seen.append, interval_seconds=1e9)
    meter.begin(Phase.TRAINING, 4)

    def figures() -> Figures:
        asked.append(step)
        return Figures(1, 1, 0.5, metric_name="accuracy", validation_metric=0.5, validation_loss=1.0)

    for step in range(1, 5):
        meter.report(step, figures, is_milestone=step == 4)
    assert [each.validation_loss for each in seen] == [None, 1.0]
    assert asked == [4]
    assert "loss" not in seen[0].to_json()
