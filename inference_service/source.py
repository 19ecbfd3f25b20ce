"""Which versions should be loaded: follows the registry's change feed and emits, per model, the whole wanted set."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import structlog

from inference_service.backoff import Backoff
from model_store.changes import ChangeFeed
from model_store.errors import ModelNotFound, StoreError
from model_store.listings import ListRequest
from model_store.names import VersionName
from model_store.paging import MAX_SIZE, PageRequest
from model_store.records import Change, Model, ModelVersion
from model_store.store import ModelStore

_log = structlog.get_logger()


@dataclass(frozen=True)
class WantedModel:
    """All that should be loaded of one model; a version that is left out should be unloaded.

    `versions` gives each wanted version's manifest digest, `aliases` the version number that each alias points at.
    """

    model_id: str
    versions: Mapping[VersionName, str] = field(default_factory=dict)
    aliases: Mapping[str, int] = field(default_factory=dict)


class Source:
    """Reads what the registry wants served: the versions that aliases point at, and the newest of each model.

    `emit` gets every model once at the start, in one call, and then the models that changed; it is called in the
    thread of `run`. While the database does not answer nothing is emitted, so what is served stays as it is.
    """

    def __init__(
        self,
        store: ModelStore,
        feed: ChangeFeed,
        emit: Callable[[tuple[WantedModel, ...]], object],
        *,
        num_newest_versions: int,
        poll_seconds: float,
        backoff: Backoff,
    ) -> None:
        self._store = store
        self._feed = feed
        self._emit = emit
        self._num_newest = num_newest_versions
        self._poll_seconds = poll_seconds
        self._backoff = backoff
        self._last_sequence: int | None = None

    def run(self, stop: threading.Event) -> None:
        """Follow the feed until `stop` is set; a database that is lost is tried again and again."""
        num_failures = 0
        while not stop.is_set():
            try:
                for _ in self._steps(stop):
                    num_failures = 0
            except StoreError as error:
                num_failures += 1
                delay = self._backoff.seconds(num_failures)
                _log.warning("change_feed_lost", error=str(error), retry_seconds=delay)
                stop.wait(delay)

    def wanted(self, model_id: str) -> WantedModel:
        """Return what should be loaded of one model now; raise ModelNotFound. Any thread may ask."""
        return self._wanted(self._store.get_model(model_id))

    def _steps(self, stop: threading.Event) -> Iterator[None]:
        """Emit everything once, then each change; a step counts as done only after its models were emitted."""
        if self._last_sequence is None:
            # Read before the listing: what changes meanwhile is then emitted twice rather than never.
            newest = self._feed.newest()
            self._emit(tuple(self._wanted(model) for model in self._all_models()))
            self._last_sequence = newest
            yield
        for changes in self._feed.follow(self._last_sequence, stop=stop, poll_seconds=self._poll_seconds):
            self._emit(tuple(self._wanted_by_id(model_id) for model_id in _changed_models(changes)))
            self._last_sequence = changes[-1].sequence
            yield

    def _all_models(self) -> Iterator[Model]:
        token = ""
        while True:
            page = self._store.list_models(ListRequest(PageRequest(MAX_SIZE, token)))
            yield from page.items
            token = page.next_token
            if not token:
                return

    def _wanted_by_id(self, model_id: str) -> WantedModel:
        try:
            return self.wanted(model_id)
        except ModelNotFound:
            return WantedModel(model_id)

    def _wanted(self, model: Model) -> WantedModel:
        if model.life.is_deleted:
            return WantedModel(model.id)
        versions = {version.name: version.manifest_digest for version in self._newest(model.id)}
        for alias in model.aliases:
            if alias.version not in versions:
                versions[alias.version] = self._store.get_version(alias.version).manifest_digest
        return WantedModel(model.id, versions, {alias.name.alias: alias.version.number for alias in model.aliases})

    def _newest(self, model_id: str) -> tuple[ModelVersion, ...]:
        if not self._num_newest:
            return ()
        return self._store.list_versions(model_id, ListRequest(PageRequest(self._num_newest))).items


def _changed_models(changes: Iterable[Change]) -> tuple[str, ...]:
    """Return the ids of the models that changed, each once, in order."""
    resources = [change.resource.split("/") for change in changes]
    return tuple(dict.fromkeys(parts[1] for parts in resources if parts[0] == "models"))
