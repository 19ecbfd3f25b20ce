"""Where the service's settings come from."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from inference_service.settings import InferenceSettings
from model_store.modalities import INPUT_SPECS, LIMITS, Limits
from model_store.names import AliasName, ModelName, VersionName


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
    with pytest.raises(ValidationError, match="max_queue_cost must be at least max_examples_per_request"):
        InferenceSettings(max_queue_cost="values=8")


def test_pinned_names_are_a_text_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    """All three kinds of names, from either variable; spaces do not count."""
    monkeypatch.setenv("MAAS_PINNED", "models/a, models/b/versions/3 ,models/c/aliases/production,")
    targets = (ModelName("a"), VersionName("b", 3), AliasName("c", "production"))
    assert InferenceSettings().pinned_targets == targets
    monkeypatch.setenv("MAAS_INFERENCE_PINNED", "")
    assert InferenceSettings().pinned_targets == ()


@pytest.mark.parametrize("name", ["flowers", "models/flowers/versions/none", "models/a;models/b"])
def test_a_pinned_name_that_is_none_is_refused_at_the_start(name: str) -> None:
    """With the name and the form that it must have."""
    with pytest.raises(ValidationError, match=rf"pinned\n.*must have the form models.*{name}"):
        InferenceSettings(pinned=(name,))


def test_limits_are_set_by_modality(monkeypatch: pytest.MonkeyPatch) -> None:
    """A modality that is left out keeps its own limit."""
    monkeypatch.setenv("MAAS_INFERENCE_MAX_EXAMPLE_SIZE", "image=1000, values=8")
    monkeypatch.setenv("MAAS_INFERENCE_MAX_REQUEST_SIZE", "image=2000")
    monkeypatch.setenv("MAAS_INFERENCE_MAX_BATCH_COST", "image=16")
    monkeypatch.setenv("MAAS_INFERENCE_MAX_QUEUE_COST", "values=2048")
    limits = InferenceSettings().limits
    assert limits["image"] == Limits(1000, 2000, batch_cost=16, queue_cost=1024)
    assert limits["values"] == Limits(8, LIMITS["values"].request, LIMITS["values"].batch_cost, queue_cost=2048)
    assert limits.keys() == INPUT_SPECS.keys()


@pytest.mark.parametrize(
    ("sizes", "reason"),
    [
        ("pictures=5", "must name modalities, image, text, table, audio, values"),
        ("image", "must have the form"),
        ("image=0", "at least 1"),
    ],
)
def test_sizes_that_mean_nothing_are_refused_at_the_start(sizes: str, reason: str) -> None:
    """With what is wrong of them."""
    with pytest.raises(ValidationError, match=reason):
        InferenceSettings(max_example_size=sizes)
