"""Where the service's settings come from."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from inference_service.settings import InferenceSettings


def test_own_variables_win_over_shared_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """`MAAS_…` reaches every process, `MAAS_INFERENCE_…` this one."""
    monkeypatch.setenv("MAAS_HOME", "/srv/maas")
    monkeypatch.setenv("MAAS_LOG_LEVEL", "warning")
    monkeypatch.setenv("MAAS_INFERENCE_LOG_LEVEL", "debug")
    monkeypatch.setenv("MAAS_INFERENCE_BIND", "0.0.0.0:1")
    settings = InferenceSettings()
    assert (settings.home, settings.log_level, settings.bind) == (Path("/srv/maas"), "debug", "0.0.0.0:1")


def test_the_defaults_listen_on_loopback_only() -> None:
    """Nothing is reachable from outside unless it is asked for."""
    assert InferenceSettings().bind == "127.0.0.1:50051"


def test_a_queue_smaller_than_a_request_is_refused() -> None:
    """Such a service would refuse some requests for ever."""
    with pytest.raises(ValidationError, match="max_queue_rows must be at least max_images_per_request"):
        InferenceSettings(max_queue_rows=8)
