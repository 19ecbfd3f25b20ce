"""Decides whether the service is ready: whether what must be served is served, not whether it was tried."""

from __future__ import annotations

import asyncio
from collections import Counter
from enum import Enum, auto

import structlog

from inference_service.lifecycle.policy import VersionState
from inference_service.lifecycle.served_model import ServedModel
from inference_service.lifecycle.served_models import ServedModels
from inference_service.lifecycle.served_version import ServedVersion

_log = structlog.get_logger()
_NUM_LOGGED = 10


class Answering(Enum):
    """Whether a model is served."""

    UNWANTED = auto()
    """None of its versions is wanted."""
    ANSWERS = auto()
    LOADING = auto()
    """Nothing answers, and some wanted version has not failed."""
    FAILED = auto()
    """Nothing answers: the last load of every wanted version failed."""


class Readiness:
    """Follows every model; `ready` is set while the service is ready, `not_ready` while it is not.

    The service is not ready until every version that was wanted at its start was loaded, has failed or was deferred
    (`first_pass`), nor before each version that was pinned then is READY. From then on it is

    - ready while no model is wanted, or some wanted model answers: with a version that was wanted before, too, and a
      deferred version counts, because its first request loads it. The models that do not answer are logged and
      reported (`obstacle`);
    - not ready while every wanted version has failed, until one of them is loaded at another attempt;
    - as it was before while nothing answers and some version is still to be loaded.
    """

    def __init__(self, models: ServedModels) -> None:
        self._models = models
        self._pinned: set[str] = set()
        self._states: dict[str, Answering] = {}
        self._counts: Counter[Answering] = Counter()
        self.first_pass = asyncio.Event()
        self.ready, self.not_ready = asyncio.Event(), asyncio.Event()
        self.not_ready.set()

    def expect(self, model: ServedModel) -> None:
        """Make the pinned versions of this model a condition of being ready."""
        self._pinned.add(model.model_id)

    def note(self, model: ServedModel) -> None:
        """Record a change of a model; call it after every change."""
        is_there = model.model_id in self._models.by_id
        if model.model_id in self._pinned and not (is_there and _pinned_obstacle(model)):
            self._pinned.remove(model.model_id)
        before = self._states.pop(model.model_id, None)
        if before is not None:
            self._counts[before] -= 1
        if is_there:
            self._states[model.model_id] = after = answering(model)
            self._counts[after] += 1

    def check(self) -> None:
        """Set the events by what was noted, and log what does not answer; call it when no action is due."""
        is_first = not self.first_pass.is_set()
        if is_first and self._models.agenda.has_untried:
            return
        was_ready = self.ready.is_set()
        is_ready = self._is_ready()
        if is_first or is_ready != was_ready:
            self._turn(is_ready=is_ready)
        self.first_pass.set()

    def _is_ready(self) -> bool:
        if self._pinned:
            return False
        if self._counts[Answering.ANSWERS] or not self._counts[Answering.FAILED] + self._counts[Answering.LOADING]:
            return True
        return self.ready.is_set() and self._counts[Answering.LOADING] > 0

    def _turn(self, *, is_ready: bool) -> None:
        now, other = (self.ready, self.not_ready) if is_ready else (self.not_ready, self.ready)
        obstacles = [text for model_id in sorted(self._states) if (text := obstacle(self._models.by_id[model_id]))]
        told = {"num_models": len(obstacles), "obstacles": obstacles[:_NUM_LOGGED]}
        if not is_ready:
            _log.error("not_ready", **told)
        elif obstacles:
            _log.warning("ready_in_part", **told)
        other.clear()
        now.set()


def answering(model: ServedModel) -> Answering:
    """Say whether a model is served: whether any of its versions answers that should, or did before."""
    wanted = [model.versions[name] for name in model.wanted.versions]
    if model.is_off or not wanted:
        return Answering.UNWANTED
    if any(version is not None and version.is_available for version in (*wanted, *model.answering_versions())):
        return Answering.ANSWERS
    return Answering.FAILED if all(version.num_failures for version in wanted) else Answering.LOADING


def obstacle(model: ServedModel) -> str:
    """Say which name or pinned version is not answered and should be, and why; empty where there is none.

    A name is answered by its desired version, or by the previous one.
    """
    if model.is_off:
        return ""
    if text := _pinned_obstacle(model):
        return text
    for name, current, target in model.wanted_names():
        version = model.versions[target]
        if not (current is not None and current.is_available) and not version.is_available:
            return f"nothing answers to {name}: {version.name} {_state_text(version)}"
    return ""


def _pinned_obstacle(model: ServedModel) -> str:
    if not model.is_off:
        for version in model.versions.values():
            if version.is_pinned and version.state is not VersionState.READY:
                return f"{version.name} is pinned, and {_state_text(version)}"
    return ""


def _state_text(version: ServedVersion) -> str:
    if version.num_failures:
        return f"could not be loaded and is tried again: {version.last_failure}"
    return f"is {version.state}"
