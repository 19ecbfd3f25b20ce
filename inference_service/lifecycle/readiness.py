"""Decides when the service is ready: once every name that was desired at its start is answered."""

from __future__ import annotations

import asyncio

import structlog

from inference_service.lifecycle.served_model import ServedModel
from inference_service.lifecycle.served_models import ServedModels

_log = structlog.get_logger()
_NUM_LOGGED = 10


class Readiness:
    """Follows the models that were desired at the start until the service is ready; it stays ready from then on.

    `first_pass` is set once every version desired at the start was loaded, has failed or was deferred. `ready` is set
    once, after that, each name is answered. See ServedModel.obstacle.
    """

    def __init__(self, models: ServedModels) -> None:
        self._models = models
        self._awaited: set[str] = set()
        self.first_pass = asyncio.Event()
        self.ready = asyncio.Event()

    def expect(self, model: ServedModel) -> None:
        """Make this model a condition of being ready."""
        self._awaited.add(model.model_id)

    def note(self, model: ServedModel) -> None:
        """Record a change of a model; call it after every change."""
        if model.model_id in self._awaited and not (model.model_id in self._models.by_id and model.obstacle()):
            self._awaited.remove(model.model_id)

    def obstacle(self, model: ServedModel) -> str:
        """Say why this model keeps the service from being ready; empty where it does not."""
        return model.obstacle() if model.model_id in self._awaited else ""

    def check(self) -> None:
        """Set `first_pass` once everything was tried, then `ready`, or log the obstacles."""
        if self.ready.is_set() or self._models.agenda.has_untried:
            return
        if not self._awaited:
            self.ready.set()
        elif not self.first_pass.is_set():
            obstacles = [self._models.by_id[each].obstacle() for each in sorted(self._awaited)[:_NUM_LOGGED]]
            _log.error("not_ready", num_models=len(self._awaited), obstacles=obstacles)
        self.first_pass.set()
