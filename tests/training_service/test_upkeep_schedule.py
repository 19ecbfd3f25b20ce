"""Upkeep in a running service: it works on its schedule, outlives errors, and followers learn what is gone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
from maas.model_store.v1 import model_store_pb2
from maas.training.v1 import training_pb2
from sqlalchemy import update

from model_store.errors import Expired
from model_store.tables import ChangeRow, JobEventRow, LeaseRow
from model_store.transactions.changes import ChangeFeed
from tests.model_store.making import publication
from tests.training_service.making import open_store, photos, publish_base, tar_of
from tests.training_service.running import TIMEOUT, RunningService, refused, running_service, until

LONG_AGO = datetime.now(UTC) - timedelta(days=400)


def make_old(service: RunningService) -> int:
    """Let all changes and events look old; return the newest change's number."""
    with service.store._database.write() as session:
        for table in (ChangeRow, JobEventRow):
            session.execute(update(table).values(created_at=LONG_AGO))
    return ChangeFeed(service.store._database).newest()


def has_pruned(service: RunningService) -> bool:
    """Say whether the start of the feed is gone."""
    try:
        ChangeFeed(service.store._database).after(0)
    except Expired:
        return True
    return False


def test_followers_learn_that_what_they_wait_for_is_gone(tmp_path: Path) -> None:
    """Both streams refuse to go on where something is missing, and say from where they can."""
    with running_service(tmp_path, num_concurrent_jobs=0, upkeep_seconds=0.05) as service:
        publish_base(service.store)
        service.upload(tar_of(photos(3)))
        job = service.create()
        service.training.CancelTrainingJob(training_pb2.CancelTrainingJobRequest(name=job.name))
        newest = make_old(service)
        until(lambda: has_pruned(service))
        watch = service.registry.WatchChanges
        for seen in (0, newest - 1):
            request = model_store_pb2.WatchChangesRequest(after_sequence=seen)
            with refused(grpc.StatusCode.OUT_OF_RANGE, f"watch after {newest}"):
                next(watch(request, timeout=TIMEOUT))
        changes = watch(model_store_pb2.WatchChangesRequest(after_sequence=newest), timeout=TIMEOUT)
        service.store.publish(publication(service.store))
        assert next(changes).resource == "models/flowers/versions/1"
        until(lambda: len(list(service.watch(job.name))) == 1)
        (last,) = service.watch(job.name)
        assert last.sequence == 2


def test_a_watch_after_an_event_that_is_gone_is_refused(tmp_path: Path) -> None:
    """The job has three events, and the first two go: after the first, one is missing."""
    with running_service(tmp_path, num_concurrent_jobs=0, upkeep_seconds=0.05) as service:
        publish_base(service.store)
        service.upload(tar_of(photos(3)))
        job = service.create()
        service.training.PauseTrainingJob(training_pb2.PauseTrainingJobRequest(name=job.name))
        service.training.CancelTrainingJob(training_pb2.CancelTrainingJobRequest(name=job.name))
        make_old(service)
        until(lambda: len(list(service.watch(job.name))) == 1)
        with refused(grpc.StatusCode.OUT_OF_RANGE, "watch after 2"):
            list(service.watch(job.name, after_sequence=1))
        assert [event.sequence for event in service.watch(job.name, after_sequence=2)] == [3]
        report = service.training.GetReport(training_pb2.GetReportRequest(name=job.name), timeout=TIMEOUT)
        assert "2 earlier events were deleted after their retention time" in report.html


def test_an_error_in_one_step_ends_neither_the_others_nor_the_service(tmp_path: Path) -> None:
    """A folder where a quarantined blob should be cannot be removed as one; the next round comes all the same."""
    (tmp_path / "blobs" / "quarantine" / f"{'0' * 64}-1").mkdir(parents=True)
    with running_service(tmp_path, num_concurrent_jobs=0, upkeep_seconds=0.05) as service:
        for _ in range(2):
            with service.store._database.write() as session:
                session.execute(update(LeaseRow).values(done_at=LONG_AGO))
            until(lambda: _done_at(service) > LONG_AGO + timedelta(days=1))
        publish_base(service.store)
        make_old(service)
        until(lambda: has_pruned(service))
        assert service.registry.GetModel(model_store_pb2.GetModelRequest(name="models/base"), timeout=TIMEOUT)


def test_of_two_services_one_keeps_and_a_dead_one_is_replaced(tmp_path: Path) -> None:
    """While another owner's lease runs, nothing is done; once it has run out, the service does the round."""
    store = open_store(tmp_path)
    with store._database.write() as session:
        session.add(LeaseRow(work="upkeep", owner="another", expires_at=datetime.now(UTC) + timedelta(hours=1)))
    with running_service(tmp_path, num_concurrent_jobs=0, upkeep_seconds=0.05) as service:
        publish_base(service.store)
        make_old(service)
        service.upload(tar_of(photos(3)))  # which takes longer than a round would
        assert not has_pruned(service)
        with store._database.write() as session:
            session.execute(update(LeaseRow).values(expires_at=LONG_AGO))
        until(lambda: has_pruned(service))


def test_a_service_that_is_told_not_to_keep_does_not(tmp_path: Path) -> None:
    """0 seconds turn it off: no lease is ever asked for."""
    with running_service(tmp_path, num_concurrent_jobs=0, upkeep_seconds=0) as service:
        publish_base(service.store)
        service.upload(tar_of(photos(3)))
        with service.store._database.read() as session:
            assert session.get(LeaseRow, "upkeep") is None


def _done_at(service: RunningService) -> datetime:
    with service.store._database.read() as session:
        row = session.get(LeaseRow, "upkeep")
        return LONG_AGO if row is None or row.done_at is None else row.done_at


def test_a_stopped_service_leaves_the_lease_free(tmp_path: Path) -> None:
    """The next one need not wait until it has run out."""
    with running_service(tmp_path, num_concurrent_jobs=0, upkeep_seconds=0.05) as service:
        until(lambda: _done_at(service) > LONG_AGO)
        service.stop()
        with service.store._database.read() as session:
            row = session.get(LeaseRow, "upkeep")
            assert row is not None
            assert row.owner is None
