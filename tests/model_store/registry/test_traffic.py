"""The split of an alias's requests: what can be set, what rolling back restores, and what cannot be deleted."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import delete, update

from model_store.blobs.local import LocalBlobs
from model_store.database.engine import Database
from model_store.database.paging import PageRequest
from model_store.errors import IllegalState, InvalidInput, VersionNotFound
from model_store.names import AliasName, VersionName
from model_store.records.aliases import NO_SPLIT, Share, Traffic
from model_store.registry.models import ModelStore
from model_store.tables import AliasMoveRow, AliasRow, VersionRow
from model_store.transactions import deletion
from model_store.transactions.changes import ChangeFeed
from model_store.upkeep.findings import Kind
from model_store.upkeep.fsck import Checker
from model_store.upkeep.retention import Pruner, Rule
from tests.model_store.making import publication

PRODUCTION = AliasName("flowers", "production")
ONE, TWO, THREE, FOUR = (VersionName("flowers", number) for number in range(1, 5))
SPLIT = Traffic((Share(2, 10), Share(3, 2.5)), Share(4, 100))


@pytest.fixture(autouse=True)
def _versions(store: ModelStore) -> None:
    for seed in range(4):
        store.publish(publication(store, seeds=(seed,)))


def test_a_split_is_kept_with_the_alias(store: ModelStore) -> None:
    """Wherever the alias is read; its name still stands for the main version."""
    alias = store.set_alias(PRODUCTION, ONE, SPLIT)
    assert (alias.version, alias.traffic) == (ONE, SPLIT)
    assert store.get_alias(PRODUCTION) == alias
    assert store.get_model("flowers").aliases == (alias,)
    assert store.resolve(PRODUCTION) == ONE
    assert [store.get_version(name).aliases for name in (ONE, TWO)] == [("production",), ()]


def test_rolling_back_restores_the_whole_target(store: ModelStore) -> None:
    """A change of the split alone is a move like any other; so is its end, by a new version without one."""
    store.set_alias(PRODUCTION, ONE)
    store.set_alias(PRODUCTION, ONE, SPLIT)
    store.set_alias(PRODUCTION, ONE, Traffic((Share(2, 20),)))
    store.publish(publication(store, seeds=(9,), alias="production"))
    assert store.get_alias(PRODUCTION).traffic == NO_SPLIT
    back = [store.roll_back_alias(PRODUCTION) for _ in range(3)]
    assert [each.version for each in back] == [ONE, ONE, ONE]
    assert [each.traffic for each in back] == [Traffic((Share(2, 20),)), SPLIT, NO_SPLIT]
    with pytest.raises(IllegalState, match="no earlier version"):
        store.roll_back_alias(PRODUCTION)
    moves = store.list_alias_history(PRODUCTION, PageRequest()).items
    assert [move.traffic.canaries for move in reversed(moves)][:4] == [(), SPLIT.canaries, (Share(2, 20),), ()]
    assert (moves[-2].from_version, moves[-2].to_version, moves[-2].traffic) == (ONE, ONE, SPLIT)


def test_setting_what_already_is_changes_nothing(store: ModelStore, database: Database) -> None:
    """No move and nothing in the feed; a change of the split alone is in both."""
    first = store.set_alias(PRODUCTION, ONE, SPLIT)
    feed = ChangeFeed(database)
    newest = feed.newest()
    assert store.set_alias(PRODUCTION, ONE, Traffic((Share(2, 10.0), Share(3, 2.5)), Share(4, 100.0))) == first
    assert feed.after(newest) == ()
    assert len(store.list_alias_history(PRODUCTION, PageRequest()).items) == 1
    store.set_alias(PRODUCTION, ONE, Traffic(SPLIT.canaries))
    assert [(change.kind, change.resource) for change in feed.after(newest)] == [("alias_moved", str(PRODUCTION))]


@pytest.mark.parametrize(
    ("traffic", "fields"),
    [
        (Traffic((Share(1, 5),)), ["canaries[0].version"]),
        (Traffic((Share(2, 5), Share(2, 6))), ["canaries[1].version"]),
        (Traffic(shadow=Share(1, 5)), ["shadow.version"]),
        (Traffic((Share(2, 0), Share(3, -1))), ["canaries[0].percent", "canaries[1].percent"]),
        (Traffic((Share(2, math.nan),), Share(3, math.inf)), ["canaries[0].percent", "shadow.percent"]),
        (Traffic((Share(2, 60), Share(3, 40.1))), ["canaries"]),
        (Traffic(tuple(Share(number, 1) for number in range(2, 11))), ["canaries"]),
    ],
)
def test_a_split_that_cannot_be_is_refused(store: ModelStore, traffic: Traffic, fields: list[str]) -> None:
    """Each field that is wrong is named, and nothing is set."""
    with pytest.raises(InvalidInput) as caught:
        store.set_alias(PRODUCTION, ONE, traffic)
    assert [each.field for each in caught.value.violations] == fields
    assert store.get_model("flowers").aliases == ()


def test_a_split_may_give_all_away(store: ModelStore) -> None:
    """Percents of floats that make up a whole do, and a canary may be the shadow."""
    store.publish(publication(store, seeds=(9,)))
    thirds = (Share(2, 33.3), Share(3, 33.3), Share(4, 33.4))
    assert store.set_alias(PRODUCTION, ONE, Traffic(thirds, Share(4, 50))).traffic.canaries == thirds


def test_every_version_of_a_split_must_be_there(store: ModelStore) -> None:
    """One that never was, and one that was deleted; a roll back to one that was deleted meanwhile is refused, too."""
    with pytest.raises(VersionNotFound, match="versions/9"):
        store.set_alias(PRODUCTION, ONE, Traffic((Share(9, 1),)))
    store.set_alias(PRODUCTION, ONE, SPLIT)
    store.set_alias(PRODUCTION, ONE)
    store.delete_version(FOUR)
    with pytest.raises(IllegalState, match="versions/4 was deleted: undelete it first"):
        store.set_alias(PRODUCTION, ONE, Traffic(shadow=Share(4, 1)))
    with pytest.raises(IllegalState, match="versions/4 before, which was deleted"):
        store.roll_back_alias(PRODUCTION)
    store.undelete_version(FOUR)
    assert store.roll_back_alias(PRODUCTION).traffic == SPLIT


def test_a_version_that_takes_part_cannot_be_deleted(store: ModelStore, database: Database) -> None:
    """The refusal says which alias names it and how to end that; pruning leaves it alone and says why."""
    store.set_alias(PRODUCTION, ONE, Traffic((Share(2, 10),), Share(3, 1)))
    for name in (TWO, THREE):
        with pytest.raises(IllegalState, match=f"is a canary or the shadow of {PRODUCTION}: set that alias again"):
            store.delete_version(name)
    kept = Pruner(database, store).prune(Rule(keep_last=1)).kept
    assert kept[TWO] == kept[THREE] == "production points at it"
    store.set_alias(PRODUCTION, ONE, Traffic(shadow=Share(3, 1)))
    assert store.delete_version(TWO).timestamps.is_deleted
    store.delete_alias(PRODUCTION)
    assert store.delete_version(THREE).timestamps.is_deleted


def test_a_purged_canary_takes_its_alias_along(store: ModelStore, database: Database, blobs: LocalBlobs) -> None:
    """A deleted model that is brought back while it is purged bit by bit has no alias of versions that are gone."""
    store.set_alias(PRODUCTION, FOUR, Traffic((Share(1, 10),)))
    store.set_alias(AliasName("flowers", "other"), THREE)
    ModelStore(database, blobs, kept_for=timedelta(0)).delete_model("flowers", force=True)
    with database.write() as session:
        assert deletion.purge(session, datetime.now(UTC), 1) == (str(ONE),)
    aliases = store.undelete_model("flowers").aliases
    assert [alias.name.alias for alias in aliases] == ["other"]
    assert Checker(database, blobs).check().is_clean


def test_rows_that_disagree_about_a_split_are_found(store: ModelStore, database: Database, blobs: LocalBlobs) -> None:
    """A canary that is deleted, and a split that the history does not know."""
    checker = Checker(database, blobs)
    store.set_alias(PRODUCTION, ONE, SPLIT)
    assert checker.check().is_clean
    with database.write() as session:
        session.execute(update(VersionRow).where(VersionRow.number == 3).values(deleted_at=datetime.now(UTC)))
    (problem,) = checker.check().problems
    assert (problem.kind, problem.resource) == (Kind.DANGLING_ALIAS, str(PRODUCTION))
    assert problem.text == f"gives requests to {THREE}, which is deleted"
    with database.write() as session:
        session.execute(update(VersionRow).values(deleted_at=None))
        session.execute(update(AliasRow).values(traffic=Traffic((Share(2, 10),)).to_json()))
    (problem,) = checker.check().problems
    assert problem.kind is Kind.WRONG_HISTORY
    expected = "1 and 2 for 10% and 3 for 2.5% and 4 as shadow for 100%"
    assert problem.text == f"points at 1 and 2 for 10%, but its history ends with {expected}"
    with database.write() as session:
        session.execute(delete(AliasMoveRow))
    (problem,) = checker.check().problems
    assert problem.text.endswith("ends with no version")
