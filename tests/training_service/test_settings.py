"""Settings come from the service's own variables, and else from those that all services share."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from training_service.settings import TrainingSettings


def test_own_variables_win_over_shared_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """`MAAS_HOME` reaches every service, `MAAS_TRAINING_LOG_LEVEL` this one alone."""
    monkeypatch.setenv("MAAS_HOME", "/srv/maas")
    monkeypatch.setenv("MAAS_LOG_LEVEL", "error")
    monkeypatch.setenv("MAAS_TRAINING_LOG_LEVEL", "debug")
    settings = TrainingSettings()
    assert (settings.home, settings.log_level, settings.bind) == (Path("/srv/maas"), "debug", "127.0.0.1:50052")


def test_settings_survive_the_way_to_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are sent as JSON, and what was sent wins over the worker's environment."""
    settings = TrainingSettings(home=Path("/here"), num_threads=3)
    monkeypatch.setenv("MAAS_HOME", "/elsewhere")
    assert TrainingSettings(**settings.model_dump(mode="json")) == settings


def test_a_lease_must_outlast_its_heartbeats() -> None:
    """Or a runner could lose a job that it works on."""
    with pytest.raises(ValidationError, match="three heartbeats"):
        TrainingSettings(lease_seconds=1.0, heartbeat_seconds=0.5)


def test_no_event_outlives_its_job() -> None:
    """A job that goes takes its events along, however many: most have gone before."""
    with pytest.raises(ValidationError, match="keep_events_days must be at most keep_jobs_days"):
        TrainingSettings(keep_events_days=10.0, keep_jobs_days=5.0)
    assert TrainingSettings(keep_events_days=10.0, keep_jobs_days=10.0).ages.jobs.days == 10


@pytest.mark.parametrize("field", ["max_archive_bytes", "max_compression_ratio", "lease_seconds", "poll_seconds"])
def test_limits_must_be_above_zero(field: str) -> None:
    """A limit of 0 would refuse everything."""
    with pytest.raises(ValidationError):
        TrainingSettings(**{field: 0})


def test_examples_are_bounded_by_modality(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit of images bounds no row of numbers; what is not set is the modality's own."""
    monkeypatch.setenv("MAAS_TRAINING_MAX_EXAMPLE_SIZE", "image=10000")
    sizes = TrainingSettings().max_sizes
    assert (sizes["image"], sizes["values"]) == (10_000, 65_536)
    monkeypatch.setenv("MAAS_TRAINING_MAX_EXAMPLE_SIZE", "sound=1")
    with pytest.raises(ValueError, match="must name modalities"):
        TrainingSettings()
