"""Publishes versions of one model to a running registry."""

from __future__ import annotations

from typing import Any

from tests.model_store.making import publication
from tests.training_service.registry_running import RunningRegistry

FLOWERS = "models/flowers"

FIRST = f"{FLOWERS}/versions/1"


def publish(registry: RunningRegistry, model_id: str = "flowers", *, seed: int = 1, **more: Any) -> str:
    """Publish a tiny version and return its name."""
    return str(registry.store.publish(publication(registry.store, model_id, (seed,), **more)).name)
