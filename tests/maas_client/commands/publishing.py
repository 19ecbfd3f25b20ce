"""Publishes a small version to a running registry."""

from __future__ import annotations

from typing import Any

from tests.model_store.making import publication
from tests.training_service.registry_running import RunningRegistry


def publish(registry: RunningRegistry, model_id: str = "flowers", seeds: tuple[int, ...] = (1, 2), **more: Any) -> str:
    """Publish a tiny version and return its name."""
    return str(registry.store.publish(publication(registry.store, model_id, seeds, **more)).name)
