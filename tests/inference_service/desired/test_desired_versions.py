"""The desired versions by the operator's policies, and lookups of names in the registry."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, insert

from inference_service.desired.desired_versions import Found, Target, WantedModel
from model_store.database.engine import Database
from model_store.errors import AliasNotFound, IllegalState, ModelNotFound, VersionNotFound
from model_store.names import AliasName, ModelName, VersionName
from model_store.records.aliases import Share, Traffic
from model_store.registry.models import ModelStore
from model_store.tables import AliasRow, ModelRow, VersionRow
from tests.inference_service.desired.reading import desired_of, numbers
from tests.inference_service.making import Recipe, Registry, open_registry


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
    desired = desired_of(store, **policies)
    (flowers,) = desired.everything()
    assert flowers == desired.of_model("flowers")
    assert (numbers(flowers), {name.number for name in flowers.pinned}) == expected
    assert flowers.aliases == {"production": 1}
    assert flowers.newest == VersionName("flowers", 3)


def test_a_pinned_model_without_an_alias_means_its_newest_version(store: ModelStore, registry: Registry) -> None:
    """As a request for its name does."""
    registry.publish(Recipe(head=1), alias=None)
    registry.publish(Recipe(head=2), alias=None)
    (flowers,) = desired_of(store, num_newest_versions=0, pinned=(ModelName("flowers"),)).everything()
    assert flowers.pinned == {VersionName("flowers", 2)}


def test_what_an_alias_gives_a_share_is_wanted_too(store: ModelStore, registry: Registry) -> None:
    """Its canaries and its shadow; the shares are told, and only of an alias that has some."""
    for head in (1, 2, 3, 4):
        registry.publish(Recipe(head=head), alias="stable" if head == 1 else None)
    traffic = Traffic((Share(1, 10.0),), Share(2, 5.0))
    store.set_alias(AliasName("flowers", "production"), VersionName("flowers", 3), traffic)
    (flowers,) = desired_of(store, num_newest_versions=0).everything()
    assert (numbers(flowers), flowers.traffic) == ({1, 2, 3}, {"production": traffic})
    assert flowers.versions[VersionName("flowers", 2)] == store.get_version(VersionName("flowers", 2)).manifest_digest
    assert desired_of(store).of_model("flowers").traffic == flowers.traffic
    assert numbers(desired_of(store, serve_aliases=False).of_model("flowers")) == {4}


def test_a_name_is_looked_up_in_the_registry(store: ModelStore, registry: Registry) -> None:
    """Any living version, by any kind of name; what is not living is an error that says so."""
    first = registry.publish(Recipe(head=1))
    second = registry.publish(Recipe(head=2), alias=None)
    desired = desired_of(store, num_newest_versions=0, serve_aliases=False)
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
    desired = desired_of(store, num_newest_versions=2, pinned=(VersionName("model-7", 1),))
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
    found = desired.everything()
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
