"""Deleting in two steps: hidden, brought back, purged; and never from under something living."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from model_store.database.engine import Database
from model_store.errors import Conflict, IllegalState, ModelNotFound, VersionNotFound
from model_store.names import AliasName, ModelName, VersionName
from model_store.records.job_lifecycle import DesiredAction
from model_store.records.jobs import JobSpec
from model_store.records.resources import Lineage, Notes
from model_store.registry.jobs import JobStore
from model_store.registry.models import ModelStore
from model_store.transactions import deletion
from model_store.transactions.changes import ChangeFeed
from model_store.transactions.listings import ListRequest
from tests.model_store.making import publication, registered_dataset

ONE, TWO = VersionName("flowers", 1), VersionName("flowers", 2)
PRODUCTION = AliasName("flowers", "production")
LATER = datetime.now(UTC) + timedelta(days=31)


def test_a_deleted_version_is_hidden_and_comes_back(store: ModelStore) -> None:
    """It is in no listing and answers nothing, and undeleting makes it as it was."""
    _publish(store, 2)
    before = store.get_version(ONE)
    deleted = store.delete_version(ONE)
    assert deleted.timestamps.is_deleted
    assert deleted.timestamps.purge_at is not None
    assert _numbers(store) == [2]
    assert _numbers(store, show_deleted=True) == [2, 1]
    assert store.get_version(ONE).timestamps.is_deleted
    for use in (
        lambda: store.resolve(ONE),
        lambda: store.set_alias(PRODUCTION, ONE),
        lambda: store.publish(publication(store, "other", lineage=Lineage(base=ONE))),
        lambda: store.delete_version(ONE),
        lambda: store.update_version(ONE, lambda notes: notes),
    ):
        with pytest.raises(IllegalState, match="models/flowers/versions/1 was deleted: undelete it first"):
            use()
    back = store.undelete_version(ONE)
    assert (back.stages, back.lineage, back.notes, back.timestamps.deleted_at) == (
        before.stages,
        before.lineage,
        before.notes,
        None,
    )
    assert _numbers(store) == [2, 1]
    with pytest.raises(IllegalState, match="was not deleted"):
        store.undelete_version(ONE)


def test_a_deleted_newest_version_answers_no_more(store: ModelStore) -> None:
    """A request that names no version gets the newest that is left; the deleted number is not given again."""
    _publish(store, 2)
    store.delete_version(TWO)
    assert store.resolve(ModelName("flowers")) == ONE
    assert store.publish(publication(store)).name.number == 3
    store.delete_version(VersionName("flowers", 3))
    store.delete_version(ONE)
    with pytest.raises(VersionNotFound, match="has no versions"):
        store.resolve(ModelName("flowers"))


def test_what_others_stand_on_is_not_deleted(store: ModelStore, database: Database) -> None:
    """An aliased version, a base with a living child, the base of an unfinished job: each refusal names who."""
    _publish(store, 1, alias="production")
    with pytest.raises(IllegalState, match="models/flowers/aliases/production"):
        store.delete_version(ONE)
    store.delete_alias(PRODUCTION)
    child = store.publish(publication(store, "child", lineage=Lineage(base=ONE)))
    for delete in (lambda: store.delete_version(ONE), lambda: store.delete_model("flowers", force=True)):
        with pytest.raises(IllegalState, match=str(child.name)):
            delete()
    store.delete_version(child.name)
    registered_dataset(store, "d")
    jobs = JobStore(database)
    job = jobs.enqueue(JobSpec("child", ONE, "d", {}, 0, None))
    for refused in (
        lambda: store.delete_version(ONE),
        lambda: store.delete_model("flowers", force=True),
        lambda: store.delete_model("child", force=True),
    ):
        with pytest.raises(IllegalState, match=job.name):
            refused()
    jobs.request_action(job.id, DesiredAction.CANCEL)
    assert store.delete_version(ONE).timestamps.is_deleted
    with pytest.raises(IllegalState, match=f"{ONE} was deleted"):
        store.undelete_version(child.name)
    with pytest.raises(IllegalState, match=f"{ONE} was deleted"):
        jobs.enqueue(JobSpec("child", ONE, "d", {}, 0, None))


def test_a_model_is_deleted_and_restored_with_its_versions(store: ModelStore) -> None:
    """What went with the model comes back with it, aliases too; what was deleted before stays deleted."""
    _publish(store, 3, alias="production")
    store.delete_version(ONE)
    with pytest.raises(IllegalState, match="versions/2, models/flowers/versions/3: delete those first"):
        store.delete_model("flowers")
    store.delete_model("flowers", force=True)
    assert store.list_models(ListRequest()).items == ()
    for use in (
        lambda: store.get_alias(PRODUCTION),
        lambda: store.resolve(ModelName("flowers")),
        lambda: store.publish(publication(store)),
        lambda: store.undelete_version(TWO),
    ):
        with pytest.raises(IllegalState, match="models/flowers was deleted: undelete it first"):
            use()
    store.undelete_model("flowers")
    assert _numbers(store) == [3, 2]
    assert store.resolve(PRODUCTION).number == 3


def test_an_etag_of_yesterday_is_refused(store: ModelStore) -> None:
    """Who decides on what they read does not overwrite what somebody else wrote since."""
    _publish(store, 1)
    read = store.get_version(ONE).timestamps.etag
    written = store.update_version(ONE, lambda _: Notes("better", {"team": "vision"}), read)
    assert written.notes == Notes("better", {"team": "vision"})
    for stale in (
        lambda: store.update_version(ONE, lambda notes: notes, read),
        lambda: store.delete_version(ONE, read),
    ):
        with pytest.raises(Conflict, match="read it again"):
            stale()
    assert store.delete_version(ONE, written.timestamps.etag).timestamps.is_deleted
    model = store.get_model("flowers")
    store.update_model("flowers", lambda _: Notes("all flowers"), model.timestamps.etag)
    with pytest.raises(Conflict):
        store.delete_model("flowers", etag=model.timestamps.etag)


def test_what_is_due_is_purged_children_first(store: ModelStore, database: Database) -> None:
    """Nothing is purged before its time; a purged model's id starts anew and its numbers go on."""
    _publish(store, 2, alias="production")
    child = store.publish(publication(store, "child", lineage=Lineage(base=ONE)))
    kept = store.publish(publication(store, "kept"))
    store.delete_model("child", force=True)
    store.delete_model("flowers", force=True)
    with database.write() as session:
        assert deletion.purge(session, datetime.now(UTC)) == ()
    with database.write() as session:
        purged = deletion.purge(session, LATER)
    assert set(purged) == {str(ONE), str(TWO), str(child.name), "models/flowers", "models/child"}
    for gone in (lambda: store.get_model("flowers"), lambda: store.get_version(ONE)):
        with pytest.raises(ModelNotFound):
            gone()
    assert store.get_version(kept.name) == kept
    assert store.publish(publication(store)).name.number == 3
    assert _numbers(store) == [3]
    assert store.get_model("flowers").aliases == ()


def test_every_step_is_in_the_feed(store: ModelStore, database: Database) -> None:
    """A follower hears of each change once."""
    store.create_model("flowers", Notes("of the garden"))
    _publish(store, 1)
    store.update_model("flowers", lambda _: Notes())
    store.delete_version(ONE)
    store.undelete_version(ONE)
    store.delete_model("flowers", force=True)
    store.undelete_model("flowers")
    assert [change.kind for change in ChangeFeed(database).after(0)] == [
        "model_created",
        "version_published",
        "model_updated",
        "version_deleted",
        "version_undeleted",
        "model_deleted",
        "model_undeleted",
    ]


def _publish(store: ModelStore, count: int, alias: str | None = None) -> None:
    for _ in range(count):
        store.publish(publication(store, alias=alias))


def _numbers(store: ModelStore, *, show_deleted: bool = False) -> list[int]:
    page = store.list_versions("flowers", ListRequest(show_deleted=show_deleted))
    return [version.name.number for version in page.items]
