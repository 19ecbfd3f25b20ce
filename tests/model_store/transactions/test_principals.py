"""The principal of a write is noted wherever the store keeps its history."""

from __future__ import annotations

import pytest

from model_store.database.engine import Database
from model_store.database.paging import PageRequest
from model_store.errors import InvalidInput
from model_store.names import AliasName, DatasetName, JobName, VersionName
from model_store.records.job_lifecycle import DesiredAction, JobState
from model_store.records.jobs import JobSpec
from model_store.records.promotion import PromotionSpec, PromotionState, Verdict
from model_store.records.resources import Notes
from model_store.registry.datasets import DatasetStore
from model_store.registry.jobs import JobStore
from model_store.registry.models import ModelStore
from model_store.transactions.changes import ChangeFeed
from model_store.transactions.promotions import Gated, PromotionStore
from tests.model_store.making import publication, registered_dataset

LIVE = AliasName("flowers", "live")
ONE = VersionName("flowers", 1)


def test_every_change_names_its_principal(database: Database, store: ModelStore) -> None:
    """Each method that writes hands it on; what is written without one has none."""
    datasets, jobs = DatasetStore(database, store.blobs), JobStore(database)
    registered_dataset(store, "d")
    before = ChangeFeed(database).newest()
    store.create_model("flowers", Notes(), principal="ann")
    store.publish(publication(store, principal="ben"))
    for call, name in (
        (store.update_model, "flowers"),
        (store.update_version, ONE),
    ):
        call(name, lambda notes: notes, principal="cat")  # type: ignore[operator]  # each takes the name of its kind
    store.set_alias(LIVE, ONE, principal="dan")
    store.delete_alias(LIVE, principal="eve")
    job = jobs.enqueue(JobSpec("flowers", ONE, "d", {}, 0, None), principal="fay")
    jobs.request_action(job.id, DesiredAction.CANCEL, principal="gus")
    store.delete_version(ONE, principal="hal")
    store.undelete_version(ONE, principal="ida")
    store.delete_model("flowers", force=True, principal="jon")
    store.undelete_model("flowers", principal="kim")
    datasets.delete("d", principal="lea")
    datasets.undelete("d", principal="max")
    datasets.delete("d")
    told = [(change.kind, change.principal) for change in ChangeFeed(database).after(before)]
    assert told == [
        ("model_created", "ann"),
        ("version_published", "ben"),
        ("model_updated", "cat"),
        ("version_updated", "cat"),
        ("alias_moved", "dan"),
        ("alias_deleted", "eve"),
        ("job_queued", "fay"),
        ("job_cancelled", "gus"),
        ("version_deleted", "hal"),
        ("version_undeleted", "ida"),
        ("model_deleted", "jon"),
        ("model_undeleted", "kim"),
        ("dataset_deleted", "lea"),
        ("dataset_undeleted", "max"),
        ("dataset_deleted", ""),
    ]


def test_alias_moves_keep_principal_and_actor(store: ModelStore) -> None:
    """Who the mover said it was, and who it was found to be."""
    store.publish(publication(store, alias="live", actor="script", principal="ann"))
    store.publish(publication(store, seeds=(1, 3), alias="live"))
    store.roll_back_alias(LIVE, actor="console", principal="ben")
    moves = store.list_alias_history(LIVE, PageRequest()).items
    assert [(move.actor, move.principal) for move in moves] == [("console", "ben"), ("", ""), ("script", "ann")]


def test_what_a_job_makes_is_its_principals(database: Database, store: ModelStore) -> None:
    """The version, the move of the alias and its roll back are for who asked for the job, not for its runner."""
    store.publish(publication(store, "base"))
    store.publish(publication(store, alias="live"))
    registered_dataset(store, "d")
    jobs, spec = JobStore(database), PromotionSpec("live")
    job = jobs.enqueue(JobSpec("flowers", VersionName("base", 1), "d", {}, 0, None, promote=spec), principal="ann")
    claim = jobs.claim("runner")
    assert claim is not None
    gated = Gated(spec, Verdict(True, "good", 0.9, incumbent=1), 60)
    jobs.advance(claim, JobState.RUNNING)
    made = store.publish(publication(store, seeds=(4, 5), claim=claim, gated=gated, principal="worker"))
    PromotionStore(database).end_loading(job.id, PromotionState.REFUSED, "cannot be loaded")
    assert (jobs.get(job.id).principal, made.principal) == ("ann", "ann")
    assert [move.principal for move in store.list_alias_history(LIVE, PageRequest()).items] == ["ann", "ann", "ann", ""]


def test_a_lineage_names_who_made_each_resource(database: Database, store: ModelStore) -> None:
    """The version, its dataset and its job, from wherever it is looked at."""
    store.publish(publication(store, "base", principal="ann"))
    DatasetStore(database, store.blobs).register(registered_dataset(store, "d"))
    jobs = JobStore(database)
    job = jobs.enqueue(JobSpec("flowers", VersionName("base", 1), "d", {}, 0, None), principal="ben")
    nodes = {
        node.name: node.principal
        for name in (VersionName("base", 1), JobName(job.id), DatasetName("d"))
        for node in store.lineage(name).nodes
    }
    assert nodes == {"models/base/versions/1": "ann", f"trainingJobs/{job.id}": "ben", "datasets/d": ""}


def test_a_principal_that_cannot_be_kept_is_refused(store: ModelStore) -> None:
    """It is never cut: a part of a name could be another's."""
    with pytest.raises(InvalidInput, match="principal"):
        store.create_model("flowers", Notes(), principal="x" * 256)
    assert store.create_model("flowers", Notes(), principal="x" * 255).id == "flowers"
