"""The registry: numbers never reused, aliases with a history, blobs first and row last."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from model_store.database.engine import Database
from model_store.database.paging import PageRequest
from model_store.errors import (
    AliasNotFound,
    AlreadyExists,
    Conflict,
    IllegalState,
    MissingBlob,
    ModelNotFound,
    VersionNotFound,
)
from model_store.names import AliasName, ModelName, VersionName
from model_store.records.metrics import ClassificationDetail, Interval, LabelMetrics, Metrics
from model_store.records.resources import Lineage
from model_store.registry.models import ModelStore
from model_store.transactions.listings import ListRequest
from tests.model_store.making import publication

PRODUCTION = AliasName("flowers", "production")
METRICS = Metrics(
    "test",
    4,
    {"accuracy": 0.75},
    {"accuracy": Interval(0.5, 1.0)},
    ClassificationDetail((LabelMetrics("a", 1.0, 0.5, 0.67, 4),), ((3, 1), (0, 0)), 1.5),
)


def test_a_version_is_read_back_whole(store: ModelStore) -> None:
    """Everything that was published is there: stages, lineage, metrics, alias, manifest."""
    base = store.publish(publication(store, "base"))
    lineage = Lineage(base=base.name, dataset_id="d", job_id="0" * 32, recipe={"name": "full"}, seed=7)
    given = publication(store, seeds=(1, 3), lineage=lineage, metrics=METRICS, alias="production", actor="ann")
    version = store.publish(given)
    assert store.get_version(VersionName("flowers", 1)) == version
    assert (version.lineage, version.metrics, version.aliases) == (lineage, METRICS, ("production",))
    assert store.manifest(version) == given.manifest
    assert version.size_bytes == sum(store.blobs.size(stage.digest) for stage in version.stages)


def test_a_shared_stage_adds_no_bytes(store: ModelStore) -> None:
    """A fine-tune that changes one stage of two stores that one, and its manifest."""
    store.publish(publication(store, seeds=(1, 2)))
    second = publication(store, seeds=(1, 3))
    version = store.publish(second)
    changed = store.blobs.size(second.manifest.stages[1].digest)
    assert version.added_bytes == changed + len(second.manifest.to_json())


def test_numbers_count_up_under_concurrency(store: ModelStore) -> None:
    """Eight threads and two hundred publishes give exactly 1 to 200."""
    given = publication(store)
    with ThreadPoolExecutor(8) as pool:
        versions = list(pool.map(lambda _: store.publish(given), range(200)))
    assert sorted(version.name.number for version in versions) == list(range(1, 201))


def test_a_version_whose_blob_is_missing_is_not_registered(store: ModelStore) -> None:
    """The row comes last: without its blobs there is no row, and no model either."""
    given = publication(store)
    store.blobs.path(given.manifest.stages[0].digest).unlink()
    with pytest.raises(MissingBlob):
        store.publish(given)
    with pytest.raises(ModelNotFound):
        store.get_model("flowers")


def test_an_unknown_base_registers_nothing(store: ModelStore) -> None:
    """The whole transaction is undone, the model's creation included."""
    with pytest.raises(ModelNotFound):
        store.publish(publication(store, lineage=Lineage(base=VersionName("nowhere", 1))))
    with pytest.raises(ModelNotFound):
        store.get_model("flowers")


def test_a_repeated_request_publishes_once(store: ModelStore) -> None:
    """A client that lost the answer asks again and gets the first success."""
    first = store.publish(publication(store, request_id="r1"))
    assert store.publish(publication(store, request_id="r1")) == first
    assert store.get_model("flowers").last_number == 1


def test_a_request_id_names_one_publication(store: ModelStore) -> None:
    """The same id with other content is a mistake that must not pass silently."""
    store.publish(publication(store, request_id="r1"))
    with pytest.raises(AlreadyExists, match="r1"):
        store.publish(publication(store, seeds=(8, 9), request_id="r1"))


def test_a_model_resolves_to_production_else_to_the_newest(store: ModelStore) -> None:
    """What a request without a version gets."""
    for _ in range(3):
        store.publish(publication(store))
    assert store.resolve(ModelName("flowers")).number == 3
    store.set_alias(PRODUCTION, VersionName("flowers", 2))
    assert store.resolve(ModelName("flowers")).number == 2
    assert store.resolve(PRODUCTION).number == 2
    assert store.resolve(VersionName("flowers", 1)).number == 1


def test_rolling_back_twice_goes_two_versions_back(store: ModelStore) -> None:
    """A roll back undoes moves one after the other, and then says that there is no earlier one."""
    for _ in range(3):
        store.publish(publication(store, alias="production"))
    assert store.roll_back_alias(PRODUCTION, actor="ann", reason="worse").version.number == 2
    assert store.roll_back_alias(PRODUCTION).version.number == 1
    with pytest.raises(IllegalState, match="no earlier version"):
        store.roll_back_alias(PRODUCTION)
    store.set_alias(PRODUCTION, VersionName("flowers", 3))
    assert store.roll_back_alias(PRODUCTION).version.number == 1


def test_the_history_of_an_alias_says_who_and_why(store: ModelStore) -> None:
    """Every move is kept, newest first."""
    store.publish(publication(store, alias="production", actor="job"))
    store.publish(publication(store))
    store.set_alias(PRODUCTION, VersionName("flowers", 2), actor="ann", reason="better")
    moves = store.list_alias_history(PRODUCTION, PageRequest()).items
    told = [(move.from_version and move.from_version.number, move.to_version.number, move.actor) for move in moves]
    assert told == [(1, 2, "ann"), (None, 1, "job")]
    assert moves[0].reason == "better"


def test_an_alias_moves_only_from_where_it_was_read(store: ModelStore) -> None:
    """Two people who decide at once do not overwrite one another: an etag is never given twice."""
    for _ in range(2):
        store.publish(publication(store, alias="production"))
    one, two = VersionName("flowers", 1), VersionName("flowers", 2)
    read = store.get_alias(PRODUCTION).etag
    moved = store.set_alias(PRODUCTION, one, etag=read)
    assert (moved.version, store.get_alias(PRODUCTION)) == (one, moved)
    for change in (
        lambda: store.set_alias(PRODUCTION, two, etag=read),
        lambda: store.roll_back_alias(PRODUCTION, etag=read),
        lambda: store.delete_alias(PRODUCTION, etag=read),
    ):
        with pytest.raises(Conflict, match="was changed meanwhile"):
            change()
    assert store.set_alias(PRODUCTION, one, etag=moved.etag) == moved  # no move, no other etag
    store.delete_alias(PRODUCTION, etag=moved.etag)
    with pytest.raises(Conflict, match="was deleted meanwhile"):
        store.set_alias(PRODUCTION, one, etag=moved.etag)
    assert store.set_alias(PRODUCTION, one).etag not in {read, moved.etag}


def test_what_does_not_exist_is_named(store: ModelStore) -> None:
    """Each look-up says which resource is missing."""
    store.publish(publication(store))
    with pytest.raises(ModelNotFound, match="models/nowhere"):
        store.get_model("nowhere")
    with pytest.raises(VersionNotFound, match="models/flowers/versions/2"):
        store.get_version(VersionName("flowers", 2))
    with pytest.raises(AliasNotFound, match="aliases/production"):
        store.get_alias(PRODUCTION)
    with pytest.raises(VersionNotFound):
        store.set_alias(PRODUCTION, VersionName("flowers", 9))
    with pytest.raises(VersionNotFound, match="stays within its model"):
        store.set_alias(PRODUCTION, VersionName("trees", 1))


def test_lists_come_in_pages(store: ModelStore) -> None:
    """Tokens lead through every version, newest first, and through every model by id."""
    for _ in range(5):
        store.publish(publication(store))
    store.publish(publication(store, "birds"))
    numbers, token = [], ""
    while True:
        page = store.list_versions("flowers", ListRequest(PageRequest(2, token)))
        numbers += [version.name.number for version in page.items]
        token = page.next_token
        if not token:
            break
    assert numbers == [5, 4, 3, 2, 1]
    first = store.list_models(ListRequest(PageRequest(1)))
    second = store.list_models(ListRequest(PageRequest(1, first.next_token)))
    assert [model.id for model in (*first.items, *second.items)] == ["birds", "flowers"]


def test_two_stores_on_one_database_agree(store: ModelStore, database: Database) -> None:
    """What one process publishes, another sees."""
    version = store.publish(publication(store))
    other = ModelStore(Database(database.url.render_as_string(hide_password=False)), store.blobs)
    assert other.get_version(version.name) == version
