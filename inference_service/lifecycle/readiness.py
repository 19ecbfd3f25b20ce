"""When the service is ready: once every name that was wanted at its start is answered."""

from __future__ import annotations

import asyncio

import structlog

from inference_service.lifecycle.served_model import ServedModel
from inference_service.lifecycle.served_models import ServedModels

_log = structlog.get_logger()
_NUM_LOGGED = 10


class Readiness:
    """Watches the models that were wanted at the start, until the service is ready; then it is for good.

    `first_pass` is set once everything wanted at the start is loaded, failed to, or found no room; `ready` once after
    that each of its names is answered. See ServedModel.obstacle.
    """

    def __init__(self, models: ServedModels) -> None:
        self._models = models
        self._awaited: set[str] = set()
        self.first_pass = asyncio.Event()
        self.ready = asyncio.Event()

    def expect(self, model: ServedModel) -> None:
        """Do not be ready without this model."""
        self._awaited.add(model.model_id)

    def note(self, model: ServedModel) -> None:
        """Take note of how a model stands now: call it after every change."""
        if model.model_id in self._awaited and not (model.model_id in self._models.by_id and model.obstacle()):
            self._awaited.remove(model.model_id)

    def obstacle(self, model: ServedModel) -> str:
        """Say why the service is not ready on account of a model; empty where it is not the cause."""
        return model.obstacle() if model.model_id in self._awaited else ""

    def check(self) -> None:
        """Note that all was tried, and then that the service is ready, or log what is in its way."""
        if self.ready.is_set() or self._models.agenda.has_untried:
            return
        if not self._awaited:
            self.ready.set()
        elif not self.first_pass.is_set():
            obstacles = [self._models.by_id[each].obstacle() for each in sorted(self._awaited)[:_NUM_LOGGED]]
            _log.error("not_ready", num_models=len(self._awaited), obstacles=obstacles)
        self.first_pass.set()
