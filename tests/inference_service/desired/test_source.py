"""The source, on a real registry that is published to."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, insert
from sqlalchemy.orm import Session

from inference_service.backoff import Backoff
from inference_service.desired.desired_versions import DesiredVersions, Found, Policies, Target, WantedModel
from inference_service.desired.source import Source
from model_store.database.engine import Database
from model_store.errors import AliasNotFound, IllegalState, ModelNotFound, Unavailable, VersionNotFound
from model_store.names import AliasName, ModelName, VersionName
from model_store.records.aliases import Share, Traffic
from model_store.registry.models import ModelStore
from model_store.registry.serving_view import ServingView
from model_store.tables import AliasRow, ModelRow, VersionRow
from model_store.transactions.changes import ChangeFeed, prune_changes
from tests.inference_service.making import Recipe, Registry, open_registry

Emitted = queue.Queue[tuple[WantedModel, ...]]


@pytest.fixture
def registry(store: ModelStore) -> Registry:
    """A registry on each kind of database server."""
    return Registry(store)


class LosableDatabase(Database):
    """A real database that does not answer while `lost` is set."""

    lost = False
    failure: Exception = Unavailable("the database does not answer")

    def read(self) -> AbstractContextManager[Session]:
        if self.lost:
            raise self.failure
        return super().read()


def wishes_of(store: ModelStore, **policies: Any) -> DesiredVersions:
    """Read a registry by these policies."""
    return DesiredVersions(store, ServingView(store._database), Policies(**policies))


@contextmanager
def following(database: Database, store: ModelStore, **policies: Any) -> Iterator[Emitted]:
    """Run a source in a thread and collect what it emits."""
    emitted: Emitted = queue.Queue()
    source = Source(
        wishes_of(store, **policies),
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


def numbers(wanted: WantedModel) -> set[int]:
    """Return the wanted version numbers."""
    return {name.number for name in wanted.versions}


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


@pytest.mark.parametrize(
    ("policies", "expected"),
    [
        ({"serve_aliases": False}, ({3}, set())),
        ({"serve_aliases": False, "num_newest_versions": 0}, (set(), set())),
        ({"pinned": (VersionName("flowers", 2), VersionName("flowers", 9))}, ({1, 2, 3}, {2})),
        ({"pinned": (AliasName("flowers", "production"), AliasName("flowers", "x"))}, ({1, 3}, {1})),
        ({"pinned": (ModelName("flowers"), ModelName("birds")), "num_newest_versions": 0}, ({1}, {1})),
    ],
)
def test_policies_say_what_is_wanted(
    store: ModelStore, registry: Registry, policies: dict[str, Any], expected: tuple[set[int], set[int]]
) -> None:
    """Aliases or not, and what is pinned: a version, what an alias points at, or what answers to the model's name."""
    registry.publish(Recipe(head=1))
    registry.publish(Recipe(head=2), alias=None)
    registry.publish(Recipe(head=3), alias=None)
    desired = wishes_of(store, **policies)
    (flowers,) = desired.everything()
    assert flowers == desired.of_model("flowers")
    assert (numbers(flowers), {name.number for name in flowers.pinned}) == expected
    assert flowers.aliases == {"production": 1}
    assert flowers.newest == VersionName("flowers", 3)


def test_a_pinned_model_without_an_alias_means_its_newest_version(store: ModelStore, registry: Registry) -> None:
    """As a request for its name does."""
    registry.publish(Recipe(head=1), alias=None)
    registry.publish(Recipe(head=2), alias=None)
    (flowers,) = wishes_of(store, num_newest_versions=0, pinned=(ModelName("flowers"),)).everything()
    assert flowers.pinned == {VersionName("flowers", 2)}


def test_what_an_alias_gives_a_share_is_wanted_too(store: ModelStore, registry: Registry) -> None:
    """Its canaries and its shadow; the shares are told, and only of an alias that has some."""
    for head in (1, 2, 3, 4):
        registry.publish(Recipe(head=head), alias="stable" if head == 1 else None)
    traffic = Traffic((Share(1, 10.0),), Share(2, 5.0))
    store.set_alias(AliasName("flowers", "production"), VersionName("flowers", 3), traffic)
    (flowers,) = wishes_of(store, num_newest_versions=0).everything()
    assert (numbers(flowers), flowers.traffic) == ({1, 2, 3}, {"production": traffic})
    assert flowers.versions[VersionName("flowers", 2)] == store.get_version(VersionName("flowers", 2)).manifest_digest
    assert wishes_of(store).of_model("flowers").traffic == flowers.traffic
    assert numbers(wishes_of(store, serve_aliases=False).of_model("flowers")) == {4}


def test_a_name_is_looked_up_in_the_registry(store: ModelStore, registry: Registry) -> None:
    """Any living version, by any kind of name; what is not living is an error that says so."""
    first = registry.publish(Recipe(head=1))
    second = registry.publish(Recipe(head=2), alias=None)
    desired = wishes_of(store, num_newest_versions=0, serve_aliases=False)
    expected = WantedModel("flowers", {}, {"production": 1}, frozenset(), newest=second.name)
    for target in (ModelName("flowers"), AliasName("flowers", "production"), first.name):
        assert desired.look_up(target) == Found(first.name, first.manifest_digest, expected)
    store.delete_version(second.name)
    refused: list[tuple[Target, type[Exception]]] = [
        (ModelName("cars"), ModelNotFound),
        (VersionName("flowers", 9), VersionNotFound),
        (AliasName("flowers", "canary"), AliasNotFound),
        (second.name, IllegalState),
    ]
    for target, error in refused:
        with pytest.raises(error):
            desired.look_up(target)


def test_the_start_takes_few_statements_however_many_models(tmp_path: Path) -> None:
    """A thousand models, of three versions and two aliases each, take as many as one, and well under a second."""
    store = open_registry(tmp_path).store
    desired = wishes_of(store, num_newest_versions=2, pinned=(VersionName("model-7", 1),))
    statements: list[str] = []

    def note(*arguments: Any) -> None:
        statements.append(arguments[2])

    event.listen(store._database._engine, "before_cursor_execute", note)
    insert_models(store._database, range(1))
    statements.clear()
    assert len(desired.everything()) == 1
    num_statements = len(statements)
    insert_models(store._database, range(1, 1000))
    statements.clear()
    started = time.perf_counter()
    found = desired.everything()
    assert time.perf_counter() - started < 0.8
    assert len(statements) == num_statements <= 4
    assert len(found) == 1000
    assert all(numbers(each) == {1, 2, 3} and each.aliases == {"production": 1, "old": 1} for each in found)


def insert_models(database: Database, ids: range) -> None:
    """Insert rows of models, past the store: publishing so many takes long."""
    kept = {"created_at": datetime.now(UTC), "updated_at": datetime.now(UTC)}
    models = [{"id": f"model-{number}", "last_number": 3, **kept} for number in ids]
    made = {
        "architecture": "resnet18",
        "modality": "image",
        "num_outputs": 3,
        "recipe": {},
        "seed": 0,
        "added_bytes": 0,
        **kept,
    }
    versions = [
        {"model_id": each["id"], "number": number, "manifest_digest": f"{number:064}", **made}
        for each in models
        for number in (1, 2, 3)
    ]
    aliases = [
        {"model_id": each["id"], "alias": alias, "number": 1, "revision": 1, "updated_at": kept["updated_at"]}
        for each in models
        for alias in ("production", "old")
    ]
    with database.write() as session:
        session.execute(insert(ModelRow), models)
        session.execute(insert(VersionRow), versions)
        session.execute(insert(AliasRow), aliases)
