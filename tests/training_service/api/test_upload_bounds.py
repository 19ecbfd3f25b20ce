"""What uploads that break off leave: bounded bytes, for a bounded time, and nothing that is of no use."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from maas.training.v1 import training_pb2 as pb

from tests.training_service.running import (
    CHUNK,
    TIMEOUT,
    RunningService,
    refused,
    running_service,
    until,
    upload_messages,
)
from tests.training_service.uploading import ARCHIVE, begun, committed, go_on, kept, new_id

INVALID = grpc.StatusCode.INVALID_ARGUMENT


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The home of the service."""
    return tmp_path


@pytest.fixture
def service(home: Path) -> Iterator[RunningService]:
    """A service that runs no jobs."""
    with running_service(home, num_concurrent_jobs=0) as running:
        yield running


def test_a_refused_upload_leaves_nothing(service: RunningService, home: Path) -> None:
    """Its archive is no better when it is sent again."""
    for messages in (
        upload_messages(b"no archive" * 2000, upload_id=new_id()),
        [*list(upload_messages(ARCHIVE, upload_id=new_id()))[:-1], pb.UploadDatasetRequest(sha256="0" * 64)],
    ):
        with refused(INVALID):
            service.training.UploadDataset(iter(messages), timeout=TIMEOUT)
        assert kept(home) == []


def test_a_client_that_never_comes_back_is_forgotten(home: Path) -> None:
    """After the operator's time, which every byte begins anew."""
    upload_id = new_id()
    with running_service(home, num_concurrent_jobs=0, keep_uploads_hours=1) as service:
        with begun(service, upload_id, CHUNK):
            expiry = service.training.QueryUpload(pb.QueryUploadRequest(upload_id=upload_id)).expire_time
        (file,) = kept(home)
        assert expiry.ToNanoseconds() / 1e9 == pytest.approx(file.stat().st_mtime + 3600, abs=5)
        os.utime(file, (0, time.time() - 3601))
        assert committed(service, upload_id) == 0
    with running_service(home, num_concurrent_jobs=0, keep_uploads_hours=2 / 3600) as service:
        with begun(service, upload_id, CHUNK):
            pass
        assert len(kept(home)) == 1
        until(lambda: not kept(home))


def test_an_upload_that_is_given_up_by_the_service_can_go_on(home: Path) -> None:
    """A client that was silent for too long, as a machine that slept."""
    upload_id = new_id()
    with running_service(home, num_concurrent_jobs=0, upload_idle_seconds=0.5) as service:
        with begun(service, upload_id, 2 * CHUNK) as silent:
            assert silent.call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert go_on(service, upload_id, committed(service, upload_id)).example_count == 20


MEBIBYTE = 1024 * 1024


def test_uploads_have_bounded_room(home: Path) -> None:
    """Those that nobody goes on with make room, the oldest first; those under way do not, and others are refused."""
    limits = {"max_archive_bytes": MEBIBYTE, "uploads_bytes": 19 * MEBIBYTE}
    with running_service(home, num_concurrent_jobs=0, **limits) as service:
        oldest, older, fresh = (new_id() for _ in range(3))
        for each in (oldest, older):
            with begun(service, each, CHUNK):
                pass
        for file, age in zip(sorted(kept(home), key=lambda file: file.stat().st_mtime), (5000, 4000), strict=True):
            os.utime(file, (0, time.time() - age))
        with begun(service, fresh, CHUNK):
            assert len(kept(home)) == 3  # a small file counts as a mebibyte, and 16 are left to write
            with begun(service, new_id(), CHUNK):
                assert (committed(service, oldest), committed(service, older)) == (0, CHUNK)
                with begun(service, new_id(), CHUNK):
                    assert committed(service, older) == 0
                    with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "try again later"):
                        go_on(service, new_id(), 0)
                    assert committed(service, fresh) == CHUNK


def test_a_full_disk_is_given_back(small_disk: Path, home: Path) -> None:
    """The answer says so, nothing of the upload stays, and with room it works."""
    disk = str(small_disk / "blobs")
    with running_service(home, num_concurrent_jobs=0, blobs_url=disk) as service:
        free = os.statvfs(small_disk).f_bavail
        for _ in range(2):
            with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "free some space"):
                messages = upload_messages(bytes(9_000_000), upload_id=new_id())
                service.training.UploadDataset(messages, timeout=TIMEOUT)
            until(lambda: os.statvfs(small_disk).f_bavail >= free - 2)
        assert go_on(service, new_id(), 0).example_count == 20
