"""The source, on a real registry that is published to."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy.orm import Session

from inference_service.backoff import Backoff
from inference_service.desired.desired_versions import WantedModel
from inference_service.desired.source import Source
from model_store.database.engine import Database
from model_store.errors import Unavailable
from model_store.names import VersionName
from model_store.registry.models import ModelStore
from model_store.transactions.changes import ChangeFeed, prune_changes
from tests.inference_service.desired.reading import desired_of, numbers
from tests.inference_service.making import Recipe, Registry

Emitted = queue.Queue[tuple[WantedModel, ...]]


class LosableDatabase(Database):
    """A real database that does not answer while `lost` is set."""

    lost = False
    failure: Exception = Unavailable("the database does not answer")

    def read(self) -> AbstractContextManager[Session]:
        if self.lost:
            raise self.failure
        return super().read()


@contextmanager
def following(database: Database, store: ModelStore, **policies: Any) -> Iterator[Emitted]:
    """Run a source in a thread and collect what it emits."""
    emitted: Emitted = queue.Queue()
    source = Source(
        desired_of(store, **policies),
        ChangeFeed(database),
        emitted.put,
        poll_seconds=0.01,
        backoff=Backoff(0.01, 0.05),
    )
    stop = threading.Event()
    thread = threading.Thread(target=source.run, args=[stop])
    thread.start()
    try:
        yield emitted
    finally:
        stop.set()
        thread.join()


def next_from(emitted: Emitted) -> tuple[WantedModel, ...]:
    """Wait for the next emission."""
    return emitted.get(timeout=10)


def test_everything_is_emitted_once_at_the_start(database: Database, registry: Registry) -> None:
    """One emission names all models, each with its aliased and its newest versions and their manifests."""
    first = registry.publish(Recipe(head=1))
    registry.publish(Recipe(head=2), alias=None)
    newest = registry.publish(Recipe(head=3), alias=None)
    registry.publish(Recipe(), model_id="birds", alias=None)
    with following(database, registry.store) as emitted:
        birds, flowers = next_from(emitted)
    assert (birds.model_id, numbers(birds), birds.aliases) == ("birds", {1}, {})
    assert flowers.versions == {first.name: first.manifest_digest, newest.name: newest.manifest_digest}
    assert flowers.aliases == {"production": 1}


def test_an_empty_registry_is_emitted_too(database: Database, registry: Registry) -> None:
    """Nothing to load is an answer: the service may report that it serves."""
    with following(database, registry.store) as emitted:
        assert next_from(emitted) == ()


def test_a_change_emits_its_model_whole(database: Database, registry: Registry) -> None:
    """A version that the newest one and the aliases leave behind is left out, which means unload."""
    registry.publish(Recipe(head=1))
    registry.publish(Recipe(), model_id="birds")
    with following(database, registry.store) as emitted:
        next_from(emitted)
        registry.publish(Recipe(head=2))
        (flowers,) = next_from(emitted)
        assert (numbers(flowers), flowers.aliases) == ({2}, {"production": 2})
        registry.point(VersionName("flowers", 1), "stable")
        (flowers,) = next_from(emitted)
        assert (numbers(flowers), flowers.aliases) == ({1, 2}, {"production": 2, "stable": 1})


@pytest.mark.parametrize(("num_newest", "expected"), [(0, {1}), (2, {1, 2, 3})])
def test_how_many_of_the_newest_is_a_setting(
    database: Database, registry: Registry, num_newest: int, expected: set[int]
) -> None:
    """None, so that only aliases count, or several."""
    registry.publish(Recipe(head=1))
    registry.publish(Recipe(head=2), alias=None)
    registry.publish(Recipe(head=3), alias=None)
    with following(database, registry.store, num_newest_versions=num_newest) as emitted:
        assert numbers(next_from(emitted)[0]) == expected


@pytest.mark.parametrize("failure", [LosableDatabase.failure, RuntimeError("what nobody expected")])
def test_a_lost_database_is_followed_again_when_it_is_back(
    database: Database, registry: Registry, failure: Exception
) -> None:
    """Nothing is emitted meanwhile, and nothing that happened is missed; whatever went wrong ends no service."""
    losable = LosableDatabase(database.url.render_as_string(hide_password=False))
    losable.failure = failure
    registry.publish(Recipe(head=1))
    with following(losable, ModelStore(losable, registry.store.blobs)) as emitted:
        next_from(emitted)
        losable.lost = True
        registry.publish(Recipe(head=2))
        with pytest.raises(queue.Empty):
            emitted.get(timeout=0.1)
        losable.lost = False
        assert numbers(next_from(emitted)[0]) == {2}
    losable.close()


def test_who_missed_changes_that_were_pruned_reads_everything_anew(database: Database, registry: Registry) -> None:
    """The database did not answer for so long that changes were pruned: what is gone by now is told as well."""
    losable = LosableDatabase(database.url.render_as_string(hide_password=False))
    registry.publish(Recipe(head=1))
    registry.publish(Recipe(), model_id="birds")
    with following(losable, ModelStore(losable, registry.store.blobs)) as emitted:
        assert [model.has_gap for model in next_from(emitted)] == [False, False]
        losable.lost = True
        registry.publish(Recipe(head=2))
        registry.store.delete_model("birds", force=True)
        with database.write() as session:
            assert prune_changes(session, datetime.now(UTC), 1000)
        losable.lost = False
        flowers, birds = next_from(emitted)
        assert (numbers(flowers), flowers.has_gap) == ({2}, True)
        assert birds == WantedModel("birds", is_gone=True, has_gap=True)
        registry.publish(Recipe(head=3))
        (flowers,) = next_from(emitted)
        assert (numbers(flowers), flowers.has_gap) == ({3}, False)
    losable.close()


def test_deletions_are_told(database: Database, registry: Registry) -> None:
    """Of versions by name, of a model as a whole: what was loaded because it was asked for has to go."""
    registry.publish(Recipe(head=1))
    registry.publish(Recipe(head=2), alias=None)
    registry.publish(Recipe(head=3), alias=None)
    with following(database, registry.store) as emitted:
        assert next_from(emitted)[0].deleted == ()
        registry.store.delete_version(VersionName("flowers", 2))
        (flowers,) = next_from(emitted)
        assert (flowers.deleted, flowers.is_gone) == ({VersionName("flowers", 2)}, False)
        registry.store.delete_model("flowers", force=True)
        assert next_from(emitted)[-1] == WantedModel("flowers", deleted=frozenset(), is_gone=True)
