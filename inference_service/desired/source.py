"""Follows the registry's change feed and emits, per model, the whole set of versions that should be loaded."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import structlog

from inference_service.backoff import Backoff
from inference_service.desired.desired_versions import DesiredVersions, WantedModel
from model_store.errors import Expired, StoreError
from model_store.names import model_name, parse_version
from model_store.records.changes import Change, ChangeKind
from model_store.transactions.changes import ChangeFeed

_log = structlog.get_logger()


class Source:
    """Emits the desired versions of every model, then those of each model that changes.

    `emit` is called in the thread of `run`: once at the start with every model that has a version, then with the models
    that changed. While the database does not answer, nothing is emitted, and the served versions stay. After an outage
    in which changes were pruned, or after a restore, every model is read and emitted again, deleted ones included.
    """

    def __init__(
        self,
        desired: DesiredVersions,
        feed: ChangeFeed,
        emit: Callable[[tuple[WantedModel, ...]], object],
        *,
        poll_seconds: float,
        backoff: Backoff,
    ) -> None:
        self._desired = desired
        self._feed = feed
        self._emit = emit
        self._poll_seconds = poll_seconds
        self._backoff = backoff
        self._last_sequence: int | None = None
        self._emitted: set[str] = set()  # ids of models that may still be served

    def run(self, stop: threading.Event) -> None:
        """Follow the feed until `stop` is set; retry with backoff after every error."""
        num_failures = 0
        while not stop.is_set():
            try:
                for _ in self._steps(stop):
                    num_failures = 0
            except Expired as error:
                _log.warning("registry_read_again", reason=str(error))
                self._last_sequence = None
            except Exception as error:  # noqa: BLE001  the outermost frame of a thread that nobody starts again
                num_failures += 1
                delay = self._backoff.seconds(num_failures)
                _log_lost(error, delay)
                stop.wait(delay)

    def _steps(self, stop: threading.Event) -> Iterator[None]:
        """Emit everything once, then each change; a step counts as done only after its models were emitted."""
        if self._last_sequence is None:
            # Read before the listing: a change in between is then emitted twice, and never lost.
            newest = self._feed.newest()
            self._emit_all(self._everything())
            self._last_sequence = newest
            yield
        for changes in self._feed.follow(self._last_sequence, stop=stop, poll_seconds=self._poll_seconds):
            self._emit_all(self._changed(changes))
            self._last_sequence = changes[-1].sequence
            yield

    def _everything(self) -> tuple[WantedModel, ...]:
        """Return the desired versions of every model; none for emitted models that no longer exist."""
        models = self._desired.everything()
        gone = sorted(self._emitted.difference(model.model_id for model in models))
        has_gap = bool(self._emitted)
        return tuple(replace(model, has_gap=has_gap) for model in (*models, *self._desired.of(gone)))

    def _emit_all(self, models: tuple[WantedModel, ...]) -> None:
        self._emit(models)
        for model in models:
            (self._emitted.discard if model.is_gone else self._emitted.add)(model.model_id)

    def _changed(self, changes: Iterable[Change]) -> tuple[WantedModel, ...]:
        gone = [each.resource for each in changes if each.kind == ChangeKind.VERSION_DELETED]
        versions = {parse_version(name, "resource") for name in gone}
        models = {each.resource for each in changes if each.kind == ChangeKind.MODEL_DELETED}
        return tuple(
            replace(
                wanted,
                deleted=frozenset(name for name in versions if name.model_id == wanted.model_id),
                is_gone=wanted.is_gone or model_name(wanted.model_id) in models,
            )
            for wanted in self._desired.of(_changed_models(changes))
        )


def _log_lost(error: Exception, delay: float) -> None:
    if isinstance(error, StoreError):
        _log.warning("change_feed_lost", error=error.in_full, retry_seconds=delay)
    else:
        _log.error("change_feed_failed", retry_seconds=delay, exc_info=error)


def _changed_models(changes: Iterable[Change]) -> tuple[str, ...]:
    """Return the ids of the models that changed, each once, in order."""
    resources = [change.resource.split("/") for change in changes]
    return tuple(dict.fromkeys(parts[1] for parts in resources if parts[0] == "models"))
