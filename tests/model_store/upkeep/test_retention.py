"""Retention: the rule keeps what it must, whatever was made from what; and a pruner deletes the rest for real."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import update

from model_store.database.engine import Database
from model_store.errors import IllegalState, InvalidInput, ModelNotFound
from model_store.names import AliasName, VersionName
from model_store.records.jobs import JobSpec
from model_store.records.resources import Lineage, ModelVersion
from model_store.registry.jobs import JobStore
from model_store.registry.models import ModelStore
from model_store.tables import VersionRow
from model_store.transactions.listings import ListRequest
from model_store.upkeep.retention import Candidate, Plan, Pruner, Rule, plan
from tests.model_store.making import publication, registered_dataset

NOW = datetime(2026, 11, 23, tzinfo=UTC)
DAY = timedelta(days=1)


@st.composite
def families(draw: st.DrawFn) -> list[Candidate]:
    """Draw the living versions of a few models; each was made from nothing, or from an earlier one of any model."""
    versions: list[Candidate] = []
    for number in range(1, draw(st.integers(1, 15)) + 1):
        base = draw(st.sampled_from([None, *(version.name for version in versions)]))
        name = VersionName(draw(st.sampled_from("abc")), number)
        created_at = NOW - DAY * draw(st.integers(0, 60))
        aliases, jobs = draw(st.sampled_from([((), ()), ((), ()), ((), ()), (("production",), ()), ((), ("j",))]))
        versions.append(Candidate(name, created_at, base, aliases, jobs))
    return draw(st.permutations(versions))


rules = st.builds(Rule, st.integers(1, 4), st.none() | st.integers(1, 50).map(lambda days: DAY * days)) | st.builds(
    Rule, newer_than=st.integers(1, 50).map(lambda days: DAY * days)
)


@given(versions=families(), rule=rules, model_id=st.none() | st.sampled_from("abc"))
def test_the_rule_keeps_what_it_must_and_nothing_else(
    versions: list[Candidate], rule: Rule, model_id: str | None
) -> None:
    """Every kept version has a reason of its own or holds for a kept child; nothing is deleted under a living child."""
    decided = plan(versions, rule, NOW, model_id)
    asked = {each.name for each in versions if model_id in {None, each.name.model_id}}
    assert set(decided.delete) | decided.kept.keys() == asked
    assert len(decided.delete) + len(decided.kept) == len(asked)
    stays = {each.name for each in versions} - set(decided.delete)
    for version in versions:
        assert _must_stay(version, versions, rule, model_id, stays) == (version.name in stays)
    position = {name: index for index, name in enumerate(decided.delete)}
    for version in versions:
        if version.name in position and version.base in position:
            assert position[version.name] < position[version.base]


def _must_stay(
    version: Candidate, versions: list[Candidate], rule: Rule, model_id: str | None, stays: set[VersionName]
) -> bool:
    newer = [each for each in versions if each.name.model_id == version.name.model_id and each.name > version.name]
    return bool(
        model_id not in {None, version.name.model_id}
        or len(newer) < (rule.keep_last or 1)
        or version.aliases
        or version.jobs
        or (rule.newer_than is not None and NOW - version.created_at < rule.newer_than)
        or any(each.base == version.name and each.name in stays for each in versions)
    )


@pytest.mark.parametrize("options", [{}, {"keep_last": 0}, {"keep_last": -1, "newer_than": DAY}])
def test_a_rule_that_keeps_nothing_is_refused(options: dict[str, int]) -> None:
    """Nobody prunes everything by leaving an option out."""
    with pytest.raises(InvalidInput, match="keep_last"):
        Rule(**options)


@pytest.fixture
def pruner(database: Database, store: ModelStore) -> Pruner:
    """A pruner of the store."""
    return Pruner(database, store)


def test_old_versions_are_deleted_and_the_reasons_of_the_others_said(
    pruner: Pruner, store: ModelStore, database: Database
) -> None:
    """Aliases, jobs, living children and the newest keep theirs; a child that goes takes its base along."""
    registered_dataset(store, "daisies")
    for number in range(1, 9):
        base = {3: 2, 5: 4}.get(number)
        lineage = Lineage(base=_flowers(base)) if base else Lineage()
        store.publish(publication(store, seeds=(number,), lineage=lineage))
    store.set_alias(AliasName("flowers", "production"), _flowers(1))
    store.publish(publication(store, "birds", lineage=Lineage(base=_flowers(5))))
    job = JobStore(database).enqueue(JobSpec("birds", _flowers(6), "daisies", {}, 0, None))
    expected = Plan(
        (_flowers(7), _flowers(3), _flowers(2)),
        {
            _flowers(1): "production points at it",
            _flowers(4): "models/flowers/versions/5 was made from it",
            _flowers(5): "models/birds/versions/1 was made from it",
            _flowers(6): f"{job.name} starts from it",
            _flowers(8): "the newest",
        },
    )
    rule = Rule(keep_last=1)
    found = pruner.find(rule, "flowers")
    assert (set(found.delete), found.kept) == (set(expected.delete), expected.kept)
    assert store.list_versions("flowers", ListRequest()).items[0].name == _flowers(8)
    assert len(store.list_versions("flowers", ListRequest()).items) == 8
    pruned = pruner.prune(rule, "flowers")
    assert (set(pruned.delete), pruned.kept) == (set(expected.delete), expected.kept)
    assert {each.name for each in store.list_versions("flowers", ListRequest()).items} == expected.kept.keys()
    assert pruner.find(rule, "flowers").delete == ()
    assert store.undelete_version(_flowers(2)).timestamps.deleted_at is None


def test_all_models_are_pruned_together(pruner: Pruner, store: ModelStore, database: Database) -> None:
    """A base goes with its child in another model; what is young stays."""
    store.publish(publication(store, "flowers"))
    store.publish(publication(store, "birds", lineage=Lineage(base=_flowers(1))))
    for model_id in ("flowers", "birds", "flowers"):
        store.publish(publication(store, model_id))
    with database.write() as session:
        old = datetime.now(UTC) - 10 * DAY
        session.execute(update(VersionRow).where(VersionRow.number == 1).values(created_at=old))
    pruned = pruner.prune(Rule(newer_than=7 * DAY))
    assert pruned.delete == (VersionName("birds", 1), _flowers(1))
    assert pruned.kept == {
        VersionName("birds", 2): "the newest",
        _flowers(2): "newer than 7 days",
        _flowers(3): "the newest",
    }


def test_a_version_that_is_needed_meanwhile_is_kept(database: Database, store: ModelStore) -> None:
    """Somebody points an alias at it between the plan and the deletion: it stays, and its base as well."""

    class Busy(ModelStore):
        """A store whose version 2 is put into production by somebody else at the last moment."""

        def delete_version(self, name: VersionName, etag: str | None = None) -> ModelVersion:
            if name == _flowers(2):
                self.set_alias(AliasName("flowers", "production"), name)
            return super().delete_version(name, etag)

    for base in (None, _flowers(1), _flowers(1), None):
        store.publish(publication(store, lineage=Lineage(base=base)))
    pruned = Pruner(database, Busy(database, store.blobs)).prune(Rule(keep_last=1))
    assert pruned.delete == (_flowers(3),)
    assert "is the base of models/flowers/versions/2" in pruned.kept[_flowers(1)]
    assert "is what models/flowers/aliases/production points at" in pruned.kept[_flowers(2)]


def test_a_model_that_is_not_there_is_named(pruner: Pruner, store: ModelStore) -> None:
    """Rather than pruning nothing without a word."""
    with pytest.raises(ModelNotFound, match="models/flowers"):
        pruner.find(Rule(keep_last=1), "flowers")
    store.publish(publication(store))
    store.delete_model("flowers", force=True)
    with pytest.raises(IllegalState, match="undelete it first"):
        pruner.find(Rule(keep_last=1), "flowers")


def _flowers(number: int) -> VersionName:
    return VersionName("flowers", number)
