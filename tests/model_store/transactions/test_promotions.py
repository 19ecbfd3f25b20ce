"""Promotions: the alias moves with the version that passed, or stays, and the history says which and why."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from model_store.database.engine import Database
from model_store.database.paging import PageRequest
from model_store.errors import AliasMoved
from model_store.names import AliasName, VersionName
from model_store.records.aliases import NO_SPLIT, Share, Traffic
from model_store.records.job_lifecycle import JobState
from model_store.records.jobs import JobSpec, TrainingJob
from model_store.records.promotion import Promotion, PromotionSpec, PromotionState, Verdict
from model_store.registry.jobs import JobStore
from model_store.registry.models import ModelStore
from model_store.transactions.promotions import Gated, PromotionStore
from model_store.upkeep.fsck import Checker
from tests.model_store.making import publication, registered_dataset

PRODUCTION = AliasName("flowers", "production")
ONE, TWO = VersionName("flowers", 1), VersionName("flowers", 2)
PROMOTE = PromotionSpec("production", min_delta=0.01)
SPEC = JobSpec("flowers", VersionName("base", 1), "d", {"name": "linear_probe"}, 0, None, promote=PROMOTE)
PASSED = Verdict(True, "accuracy 0.9; flowers 1 has 0.8", 0.9, 1, 0.8)
FAILED = Verdict(False, "accuracy 0.8; flowers 1 has 0.9", 0.8, 1, 0.9)


@pytest.fixture
def jobs(database: Database, store: ModelStore) -> JobStore:
    """A queue, and version 1 behind the alias."""
    store.publish(publication(store, "base"))
    registered_dataset(store, "d")
    store.publish(publication(store, seeds=(1, 3), alias="production"))
    return JobStore(database)


@pytest.fixture
def promotions(database: Database) -> PromotionStore:
    """Promotions in the same database."""
    return PromotionStore(database)


def publish(
    jobs: JobStore,
    store: ModelStore,
    verdict: Verdict,
    *,
    spec: PromotionSpec = PROMOTE,
    patience_seconds: float | None = 60,
) -> TrainingJob:
    """Run a job to the version that this was said of."""
    job = jobs.enqueue(replace(SPEC, promote=spec))
    claim = jobs.claim("runner")
    assert claim is not None
    jobs.advance(claim, JobState.RUNNING)
    seeds = (1, 10 + job.last_sequence + store.get_model("flowers").last_number)
    store.publish(publication(store, seeds=seeds, claim=claim, gated=Gated(spec, verdict, patience_seconds)))
    return jobs.get(job.id)


def promotion_of(job: TrainingJob) -> Promotion:
    """Return what became of a job's promotion."""
    assert job.promotion is not None
    return job.promotion


def test_a_spec_is_kept_with_its_job(jobs: JobStore) -> None:
    """All of it, and nothing became of it yet."""
    spec = PromotionSpec("production", "log_loss", 0.5, 0.1, 30)
    job = jobs.get(jobs.enqueue(replace(SPEC, promote=spec)).id)
    assert (job.spec.promote, job.promotion) == (spec, None)


def test_what_passes_moves_the_alias(jobs: JobStore, store: ModelStore, promotions: PromotionStore) -> None:
    """In the transaction that publishes the version; then it waits to be served."""
    job = publish(jobs, store, PASSED)
    assert store.get_alias(PRODUCTION).version == TWO
    assert promotion_of(job).state is PromotionState.LOADING
    assert not job.is_settled
    assert [each.id for each in promotions.under_way()] == [job.id]
    assert [event.kind for event in jobs.events_after(job.id, 0)][-2:] == ["state", "promotion"]
    promotions.end_loading(job.id, PromotionState.SERVING, "it answers")
    settled = jobs.get(job.id)
    assert (promotion_of(settled).state, promotion_of(settled).reason) == (PromotionState.SERVING, "it answers")
    assert settled.is_settled
    assert promotions.under_way() == ()
    assert Promotion.from_json(jobs.events_after(job.id, 0)[-1].payload) == settled.promotion


def test_without_a_service_to_ask_the_alias_has_moved_and_that_is_all(jobs: JobStore, store: ModelStore) -> None:
    """Nobody is waited for."""
    job = publish(jobs, store, PASSED, patience_seconds=None)
    assert (promotion_of(job).state, job.is_settled) == (PromotionState.PROMOTED, True)
    assert store.get_alias(PRODUCTION).version == TWO


def test_what_is_refused_leaves_the_alias_and_is_in_its_history(
    jobs: JobStore, store: ModelStore, database: Database
) -> None:
    """With both figures; rolling back goes over it, and the checker finds nothing wrong with it."""
    store.publish(publication(store, seeds=(1, 4), alias="production"))
    job = publish(jobs, store, replace(FAILED, incumbent=2))
    assert (job.state, promotion_of(job).state) == (JobState.SUCCEEDED, PromotionState.REFUSED)
    assert (promotion_of(job).verdict.figure, promotion_of(job).verdict.incumbent_figure) == (0.8, 0.9)
    assert store.get_alias(PRODUCTION).version == TWO
    last = store.list_alias_history(PRODUCTION, PageRequest()).items[0]
    assert (last.is_refused, last.from_version, last.to_version) == (True, TWO, VersionName("flowers", 3))
    assert (last.reason, last.actor) == (FAILED.reason, job.name)
    assert Checker(database, store.blobs).check().is_clean
    assert store.roll_back_alias(PRODUCTION).version == ONE


def test_an_alias_that_is_new_needs_no_incumbent(jobs: JobStore, store: ModelStore, database: Database) -> None:
    """A refusal of the first version leaves no alias behind, and a history that is whole."""
    spec, name = replace(PROMOTE, alias="best"), AliasName("flowers", "best")
    refused = publish(jobs, store, replace(FAILED, incumbent=None), spec=spec)
    assert promotion_of(refused).state is PromotionState.REFUSED
    assert [move.is_refused for move in store.list_alias_history(name, PageRequest()).items] == [True]
    assert Checker(database, store.blobs).check().is_clean
    publish(jobs, store, replace(PASSED, incumbent=None), spec=spec)
    assert store.get_alias(name).version == VersionName("flowers", 3)


def test_a_verdict_on_another_incumbent_is_not_carried_out(jobs: JobStore, store: ModelStore) -> None:
    """Nothing is published then: the gate has to look again."""
    store.publish(publication(store, seeds=(1, 4), alias="production"))
    with pytest.raises(AliasMoved, match="was moved while"):
        publish(jobs, store, PASSED)
    assert store.get_model("flowers").last_number == 2
    assert store.get_alias(PRODUCTION).version == TWO


def test_a_shadow_that_passes_takes_over(jobs: JobStore, store: ModelStore, promotions: PromotionStore) -> None:
    """The main version answers until then, and rolling back leads to it without a shadow."""
    split = Traffic((), Share(1, 50))
    store.publish(publication(store, seeds=(1, 4)))
    store.set_alias(PRODUCTION, TWO, split)
    job = publish(jobs, store, replace(PASSED, incumbent=2), spec=replace(PROMOTE, shadow_seconds=30))
    alias = store.get_alias(PRODUCTION)
    assert (alias.version, alias.traffic.shadow) == (TWO, Share(3, 100))
    assert (promotion_of(job).state, job.is_settled) == (PromotionState.SHADOWING, False)
    until = promotion_of(job).until
    assert until is not None
    assert 25 < (until - datetime.now(UTC)).total_seconds() <= 30
    promotions.end_shadowing(job.id, replace(PASSED, reason="no failure"), 60)
    promotions.end_shadowing(job.id, replace(FAILED, reason="another one saw it later"), 60)
    moved = store.get_alias(PRODUCTION)
    assert (moved.version, moved.traffic) == (VersionName("flowers", 3), NO_SPLIT)
    assert promotion_of(jobs.get(job.id)).state is PromotionState.LOADING
    back = store.roll_back_alias(PRODUCTION)
    assert (back.version, back.traffic) == (TWO, split)


def test_a_shadow_that_fails_is_taken_off(
    jobs: JobStore, store: ModelStore, promotions: PromotionStore, database: Database
) -> None:
    """The alias is what it was."""
    job = publish(jobs, store, PASSED, spec=replace(PROMOTE, shadow_seconds=30))
    promotions.end_shadowing(job.id, replace(PASSED, passes=False, reason="failed 1 of 2 requests"), 60)
    alias = store.get_alias(PRODUCTION)
    assert (alias.version, alias.traffic) == (ONE, NO_SPLIT)
    assert store.list_alias_history(PRODUCTION, PageRequest()).items[0].is_refused
    ended = promotion_of(jobs.get(job.id))
    assert (ended.state, ended.reason) == (PromotionState.REFUSED, "failed 1 of 2 requests")
    assert Checker(database, store.blobs).check().is_clean


def test_somebody_elses_move_ends_a_shadow(jobs: JobStore, store: ModelStore, promotions: PromotionStore) -> None:
    """Whoever set the alias meanwhile meant it."""
    job = publish(jobs, store, PASSED, spec=replace(PROMOTE, shadow_seconds=30))
    store.set_alias(PRODUCTION, ONE)
    promotions.end_shadowing(job.id, PASSED, 60)
    assert store.get_alias(PRODUCTION).version == ONE
    ended = promotion_of(jobs.get(job.id))
    assert (ended.state, "somebody else" in ended.reason) == (PromotionState.REFUSED, True)


def test_what_cannot_be_loaded_is_rolled_back(jobs: JobStore, store: ModelStore, promotions: PromotionStore) -> None:
    """Unless the alias is elsewhere by then, or was nowhere before."""
    job = publish(jobs, store, PASSED)
    promotions.end_loading(job.id, PromotionState.REFUSED, "a blob is damaged")
    assert store.get_alias(PRODUCTION).version == ONE
    assert promotion_of(jobs.get(job.id)).reason == "a blob is damaged; the alias is back at 1"
    again = publish(jobs, store, PASSED)
    store.set_alias(PRODUCTION, TWO)
    promotions.end_loading(again.id, PromotionState.REFUSED, "a blob is damaged")
    assert store.get_alias(PRODUCTION).version == TWO
    first = publish(jobs, store, replace(PASSED, incumbent=None), spec=replace(PROMOTE, alias="best"))
    promotions.end_loading(first.id, PromotionState.REFUSED, "a blob is damaged")
    assert "nowhere else" in promotion_of(jobs.get(first.id)).reason


def test_a_deleted_model_ends_its_promotions(jobs: JobStore, store: ModelStore, promotions: PromotionStore) -> None:
    """Nobody waits for it any more."""
    job = publish(jobs, store, PASSED)
    store.delete_model("flowers", force=True)
    promotions.end_loading(job.id, PromotionState.SERVING, "it answers")
    ended = promotion_of(jobs.get(job.id))
    assert (ended.state, ended.reason) == (PromotionState.REFUSED, "models/flowers was deleted")
