"""Upkeep: what is older than its age goes, and nobody who is behind is left unaware of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, insert, select, update

from model_store.blobs.local import LocalBlobs
from model_store.database.engine import Database
from model_store.database.paging import PageRequest
from model_store.errors import Expired, JobNotFound, LeaseLost
from model_store.names import AliasName, VersionName
from model_store.records.job_lifecycle import DesiredAction, JobState
from model_store.records.jobs import JobSpec
from model_store.records.resources import Lineage
from model_store.registry.jobs import JobStore
from model_store.registry.models import ModelStore
from model_store.tables import AliasMoveRow, ChangeRow, JobCheckpointRow, JobEventRow, JobRow, LeaseRow
from model_store.transactions.changes import ChangeFeed, append_change
from model_store.transactions.leases import WorkLease
from model_store.transactions.listings import ListRequest
from model_store.upkeep import history
from model_store.upkeep.paced_writes import PacedWrites
from model_store.upkeep.steps import Ages, Counts, Upkeep
from tests.model_store.blob_places import Place, local_place, remote_place
from tests.model_store.making import age, publication, registered_dataset
from tests.model_store.year import Use, allowed, count, fill, last_days

AGES = Ages()
LONG_AGO = datetime.now(UTC) - timedelta(days=400)
SPEC = JobSpec("flowers", VersionName("base", 1), "d", {"name": "linear_probe"}, 0, None)


def keep(database: Database, store: ModelStore) -> dict[str, Counts]:
    """Do one round; return what went, by step."""
    return {name: step() for name, step in Upkeep(database, store.blobs, AGES).steps(lambda _: None).items()}


def write(database: Database, *resources: str, made_at: datetime | None = None) -> None:
    """Commit a change for each of these."""
    with database.write() as session:
        for resource in resources:
            append_change(session, "tested", resource)
        session.flush()
        if made_at is not None:
            session.execute(update(ChangeRow).where(ChangeRow.resource.in_(resources)).values(created_at=made_at))


def queued_job(database: Database, store: ModelStore) -> tuple[JobStore, str]:
    """Queue a job."""
    store.publish(publication(store, "base"))
    registered_dataset(store, "d")
    jobs = JobStore(database)
    return jobs, jobs.enqueue(SPEC).id


def test_old_changes_go_and_who_is_behind_them_is_told(database: Database, store: ModelStore) -> None:
    """Those who have seen the last old change go on; those before it, from the start too, are told from where."""
    feed = ChangeFeed(database)
    write(database, "a", "b", "c", made_at=LONG_AGO)
    write(database, "d")
    *_, last_old, new = feed.after(0)
    assert keep(database, store)["changes"] == {"num_changes": 3}
    assert keep(database, store)["changes"] == {"num_changes": 0}
    assert feed.after(last_old.sequence) == (new,)
    for seen in (0, 1, last_old.sequence - 1):
        with pytest.raises(Expired, match=f"up to {last_old.sequence} are not kept"):
            feed.after(seen)
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(ChangeRow)) == 2


def test_who_is_ahead_of_the_feed_is_told(database: Database) -> None:
    """The database was restored from a backup: what has a number that was seen already would be missed."""
    feed = ChangeFeed(database)
    assert feed.after(0) == ()
    write(database, "a", "b")
    assert feed.after(2) == ()
    with pytest.raises(Expired, match=r"there is no change 3 .*: watch after 2"):
        feed.after(3)


def test_a_feed_of_old_changes_alone_goes_on_counting(database: Database, store: ModelStore) -> None:
    """No sequence number is given twice: who has seen all before the pruning sees what comes after it."""
    feed = ChangeFeed(database)
    write(database, "a", "b", made_at=LONG_AGO)
    newest = feed.newest()
    keep(database, store)
    assert feed.newest() == newest
    assert feed.after(newest) == ()
    write(database, "c")
    assert [change.resource for change in feed.after(newest)] == ["c"]


def test_more_than_one_transaction_of_changes_goes(
    database: Database, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In several short writes, and the mark moves along."""
    monkeypatch.setattr(history, "_BATCH", 3)
    write(database, *"abcdefgh", made_at=LONG_AGO)
    assert keep(database, store)["changes"] == {"num_changes": 8}
    with pytest.raises(Expired, match="up to 8 are"):
        ChangeFeed(database).after(7)


def test_old_events_go_but_for_each_jobs_last(
    database: Database, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who replays a job sees what is left; who goes on after an event that went is told so."""
    monkeypatch.setattr(history, "_BATCH", 3)
    jobs, job_id = queued_job(database, store)
    other = jobs.enqueue(SPEC).id
    claim = jobs.claim("runner")
    assert claim is not None
    for number in range(7):
        jobs.append(claim, "progress", {"number": number})
    with database.write() as session:
        session.execute(update(JobEventRow).values(created_at=LONG_AGO))
    jobs.append(claim, "message", {"text": "new"})
    assert keep(database, store)["events"] == {"num_events": 9}
    assert keep(database, store)["events"] == {"num_events": 0}
    (left,) = jobs.events_after(job_id, 0)
    assert (left.sequence, left.payload) == (10, {"text": "new"})
    assert jobs.events_after(job_id, 9) == (left,)
    with pytest.raises(Expired, match="up to 9 are not kept any more: watch after 9"):
        jobs.events_after(job_id, 4)
    assert [event.payload for event in jobs.events_after(other, 0)] == [{"state": "queued"}]


def test_old_jobs_that_left_nothing_go(database: Database, store: ModelStore) -> None:
    """A job stays while it has not ended, while its version is there, and for its time."""
    jobs, cancelled = queued_job(database, store)
    open_job, young, published = (jobs.enqueue(SPEC).id for _ in range(3))
    for job_id in (cancelled, young):
        jobs.request_action(job_id, DesiredAction.CANCEL)
    store.publish(publication(store, lineage=Lineage(job_id=published)))
    with database.write() as session:
        values = {"state": JobState.SUCCEEDED, "ended_at": LONG_AGO}
        session.execute(update(JobRow).where(JobRow.id == published).values(values))
        session.execute(update(JobRow).where(JobRow.id == cancelled).values(ended_at=LONG_AGO))
        checkpoint = {"job_id": cancelled, "step": 1, "digest": "0" * 64, "size_bytes": 1}
        session.execute(insert(JobCheckpointRow).values(checkpoint))
    assert keep(database, store)["jobs"] == {"num_jobs": 1}
    assert {job.id for job in jobs.list(ListRequest()).items} == {open_job, young, published}
    with pytest.raises(JobNotFound):
        jobs.get(cancelled)
    with database.read() as session:
        assert session.scalar(select(func.count()).where(JobEventRow.job_id == cancelled)) == 0
    assert ChangeFeed(database).after(0)[-1].resource == f"trainingJobs/{cancelled}"


def test_garbage_and_what_was_deleted_long_ago_go(database: Database, store: ModelStore) -> None:
    """A round does what `maas store gc --delete` does."""
    due_at_once = ModelStore(database, store.blobs, kept_for=timedelta(0))
    due_at_once.delete_version(store.publish(publication(store)).name)
    age(store.blobs)  # type: ignore[arg-type]  # they are local
    counts = keep(database, store)["garbage"]
    assert (counts["num_versions"], counts["num_blobs"]) == (1, 3)
    assert list(store.blobs.all()) == []


def test_the_history_of_aliases_stays(database: Database, store: ModelStore) -> None:
    """It is the audit, and what a roll back goes by."""
    store.publish(publication(store, alias="production"))
    with database.write() as session:
        session.execute(update(AliasMoveRow).values(created_at=LONG_AGO))
    keep(database, store)
    assert len(store.list_alias_history(AliasName("flowers", "production"), PageRequest()).items) == 1


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A store on a disk, and one in an object store."""
    if request.param == "local":
        return local_place(tmp_path)
    return remote_place(request.getfixturevalue("s3_url"), tmp_path)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_what_was_moved_aside_long_ago_goes(database: Database, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A damaged blob is there to be looked at for a while, counted from when it was moved."""
    blobs = place.blobs
    for data, moved_at in ((b"old", LONG_AGO.timestamp()), (b"new", datetime.now(UTC).timestamp())):
        digest = blobs.put([data]).digest
        monkeypatch.setattr("time.time", lambda moved_at=moved_at: moved_at)
        blobs.quarantine(digest)
        monkeypatch.undo()
    assert keep(database, ModelStore(database, blobs))["quarantine"] == {"num_blobs": 1, "size_bytes": 3}
    assert [blob.size_bytes for blob in blobs.quarantined()] == [3]


def test_a_step_that_is_told_to_stop_does_so_between_two_transactions(
    database: Database, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What went is gone, the rest is left for the next round."""
    monkeypatch.setattr(history, "_BATCH", 3)
    write(database, *"abcdefgh", made_at=LONG_AGO)
    writes: list[float] = []

    def pause(seconds: float) -> None:
        writes.append(seconds)
        if len(writes) > 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        Upkeep(database, store.blobs, AGES).steps(pause)["changes"]()
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(ChangeRow)) == 4


Open = Callable[[str], WorkLease]


@pytest.fixture
def lease_of(database: Database) -> Open:
    """Leases on one kind of work, for any owner."""
    return lambda owner: WorkLease(database, "upkeep", owner, lease_seconds=60, every_seconds=3600)


def test_one_has_the_lease_until_the_work_is_done(database: Database, lease_of: Open) -> None:
    """Then nobody has, until the work is due again."""
    first, second = lease_of("first"), lease_of("second")
    assert first.take()
    assert not second.take()
    assert not first.take()
    first.renew()
    first.give_back(is_done=True)
    assert not second.take()
    with database.write() as session:
        session.execute(update(LeaseRow).values(done_at=datetime.now(UTC) - timedelta(hours=1)))
    assert second.take()
    second.give_back(is_done=False)
    assert first.take()


def test_a_dead_owner_is_replaced(database: Database, lease_of: Open) -> None:
    """Once its lease has run out; should it live after all, it is told that it lost the lease."""
    first, second = lease_of("first"), lease_of("second")
    assert first.take()
    with database.write() as session:
        session.execute(update(LeaseRow).values(expires_at=datetime.now(UTC) - timedelta(seconds=1)))
    assert second.take()
    with pytest.raises(LeaseLost, match="no longer held by first"):
        first.renew()
    with pytest.raises(LeaseLost):
        first.give_back(is_done=True)
    second.renew()


def test_other_files_in_quarantine_are_left(tmp_path: Path) -> None:
    """What has no name of a blob and a moment was put there by somebody else."""
    blobs, folder = LocalBlobs(tmp_path), tmp_path / "quarantine"
    folder.mkdir()
    for name in ("README", "0" * 64, f"{'0' * 64}-soon"):
        (folder / name).write_text("x")
    assert list(blobs.quarantined()) == []


def test_what_is_left_of_a_year_is_bounded_by_the_ages(database: Database, blobs: LocalBlobs) -> None:
    """A year in small: after a round there are no more rows, and no more blobs, than the ages allow."""
    use, span = Use(num_changes=3000, num_events=6000, num_jobs=300), last_days(365)
    fill(database, blobs, use, span)
    ages = replace(AGES, jobs=timedelta(days=180))
    most = allowed(use, span, ages, datetime.now(UTC))
    for step in Upkeep(database, blobs, ages).steps(lambda _: None).values():
        step()
    kept = count(database)
    assert {name: kept[name] <= most[name] for name in most} == dict.fromkeys(most, True)
    assert (kept["jobs"], kept["events"]) == (most["jobs"], most["events"])
    assert len(list(blobs.all())) == kept["checkpoints"]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_other_writers_have_time_between_two_turns(database: Database) -> None:
    """A writer of SQLite sleeps 100 ms before it looks again: it would starve beside turn after turn."""
    rests: list[float] = []
    writes = PacedWrites(database, rests.append)
    for _ in range(3):
        with writes.write():
            pass
    assert rests[0] == 0.0
    assert all(seconds >= 0.1 for seconds in rests[1:])
