"""Uploads that break off go on where they stopped, whatever ended them, and no longer than they may."""

from __future__ import annotations

import hashlib
import os
import random
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from maas.training.v1 import training_pb2 as pb

from tests.training_service.making import photos, picture, tar_of
from tests.training_service.running import (
    CHUNK,
    TIMEOUT,
    RunningService,
    refused,
    running_service,
    until,
    upload_messages,
)

ARCHIVE = tar_of(photos())
INVALID = grpc.StatusCode.INVALID_ARGUMENT
FAILED_PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
NOT_FOUND = grpc.StatusCode.NOT_FOUND


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The home of the service."""
    return tmp_path


@pytest.fixture
def service(home: Path) -> Iterator[RunningService]:
    """A service that runs no jobs."""
    with running_service(home, num_concurrent_jobs=0) as running:
        yield running


def new_id() -> str:
    """Return an id that nobody has used."""
    return str(uuid.uuid4())


def kept(home: Path) -> list[Path]:
    """Return the files of the uploads that are there."""
    return list((home / "blobs/uploads").glob("*.*"))


def committed(service: RunningService, upload_id: str) -> int:
    """Return how much the service has of an upload, 0 where it has nothing."""
    try:
        return service.training.QueryUpload(pb.QueryUploadRequest(upload_id=upload_id), timeout=TIMEOUT).committed_size
    except grpc.RpcError as error:
        if error.code() is not NOT_FOUND:
            raise
        return 0


@dataclass(frozen=True)
class Begun:
    """An upload that waits in its middle; `go_on` lets it send the rest."""

    call: grpc.Future
    go_on: threading.Event


@contextmanager
def begun(service: RunningService, upload_id: str, num_bytes: int, offset: int = 0) -> Iterator[Begun]:
    """Send an upload until the service has so many bytes, or a part of a chunk more; the call ends with the block."""
    go_on, arriving = threading.Event(), offset - (offset - num_bytes) // CHUNK * CHUNK

    def messages() -> Iterator[pb.UploadDatasetRequest]:
        sent = offset - CHUNK  # the header counts nothing
        for message in upload_messages(ARCHIVE, upload_id=upload_id, offset=offset):
            yield message
            sent += CHUNK
            if sent >= num_bytes:
                go_on.wait(TIMEOUT)

    call = service.training.UploadDataset.future(messages(), timeout=TIMEOUT)
    try:
        until(lambda: committed(service, upload_id) == arriving)
        yield Begun(call, go_on)
    finally:
        call.cancel()
        go_on.set()


def go_on(service: RunningService, upload_id: str, offset: int, dataset_id: str = "photos") -> pb.Dataset:
    """Send the rest of an upload."""
    messages = upload_messages(ARCHIVE, dataset_id, upload_id=upload_id, offset=offset)
    return service.training.UploadDataset(messages, timeout=TIMEOUT)


def test_an_upload_that_is_cut_again_and_again_arrives_whole(service: RunningService, home: Path) -> None:
    """At random offsets; the dataset is the one that is made in one go, and nothing stays behind."""
    upload_id, chance, offset = new_id(), random.Random(0), 0
    while offset < len(ARCHIVE) * 2 // 3:
        num_bytes = chance.randrange(offset + 1, len(ARCHIVE) - CHUNK)
        with begun(service, upload_id, num_bytes, offset):
            pass
        offset = chance.choice([committed(service, upload_id), chance.randrange(1, num_bytes + 1)])
    assert go_on(service, upload_id, offset).digest == service.upload(ARCHIVE, "again").digest
    until(lambda: not kept(home))
    with refused(NOT_FOUND, "begin it with write_offset 0"):
        service.training.QueryUpload(pb.QueryUploadRequest(upload_id=upload_id))


def test_an_answer_that_was_lost_is_given_again(service: RunningService) -> None:
    """The same upload sent once more is answered with its dataset before a byte is read; another upload is refused."""
    upload_id = new_id()
    dataset = go_on(service, upload_id, 0)
    header = pb.UploadDatasetRequest.Header(dataset_id="photos", upload_id=upload_id)
    never = threading.Event()

    def messages(header: pb.UploadDatasetRequest.Header) -> Iterator[pb.UploadDatasetRequest]:
        yield pb.UploadDatasetRequest(header=header)
        never.wait(TIMEOUT)

    try:
        assert service.training.UploadDataset(messages(header), timeout=TIMEOUT) == dataset
        header.upload_id = new_id()
        with refused(grpc.StatusCode.ALREADY_EXISTS):
            service.training.UploadDataset(messages(header), timeout=TIMEOUT)
    finally:
        never.set()


def test_the_older_of_two_streams_is_ended(service: RunningService) -> None:
    """Its link may be dead without the service knowing: the newer one must not wait for it."""
    upload_id = new_id()
    with begun(service, upload_id, 3 * CHUNK) as older:
        dataset = go_on(service, upload_id, 2 * CHUNK)
        older.go_on.set()
        assert older.call.code() is grpc.StatusCode.ABORTED
        assert "another stream" in older.call.details()
    assert dataset.example_count == 20


def test_an_upload_goes_on_after_a_restart(home: Path) -> None:
    """What arrived is on the disk."""
    upload_id = new_id()
    first = running_service(home, num_concurrent_jobs=0, drain_seconds=0)
    with first as service, begun(service, upload_id, 4 * CHUNK):
        service.stop()
    with running_service(home, num_concurrent_jobs=0) as service:
        offset = committed(service, upload_id)
        assert offset >= 4 * CHUNK
        assert go_on(service, upload_id, offset).example_count == 20


def test_two_services_that_share_the_folder_share_the_uploads(tmp_path: Path) -> None:
    """An upload goes on at the other service, and its older stream ends at the first."""
    upload_id = new_id()
    with running_service(tmp_path, num_concurrent_jobs=0) as first, begun(first, upload_id, 4 * CHUNK) as older:
        with running_service(tmp_path, num_concurrent_jobs=0) as second:
            assert go_on(second, upload_id, committed(second, upload_id)).example_count == 20
        older.go_on.set()
        assert older.call.code() is grpc.StatusCode.ABORTED


def test_an_upload_is_its_principals(tmp_path: Path) -> None:
    """Whoever knows its id is told nothing of it, and can neither go on with it nor end it."""
    upload_id = new_id()
    with (
        running_service(tmp_path, num_concurrent_jobs=0, principal="alice") as alice,
        begun(alice, upload_id, 4 * CHUNK) as hers,
    ):
        with running_service(tmp_path, num_concurrent_jobs=0, principal="mallory") as mallory:
            assert committed(mallory, upload_id) == 0
            with refused(NOT_FOUND):
                go_on(mallory, upload_id, 4 * CHUNK)
            assert go_on(mallory, upload_id, 0, "other").example_count == 20
        hers.go_on.set()
        assert hers.call.result(TIMEOUT).name == "datasets/photos"


@pytest.mark.parametrize("damage", ["torn", "zeros", "other"])
def test_what_a_crash_of_the_machine_left_is_verified(service: RunningService, home: Path, damage: str) -> None:
    """Bytes that never reached the disk, or are others, are refused before anything is sent; a new beginning works."""
    upload_id = new_id()
    with begun(service, upload_id, 4 * CHUNK):
        pass
    offset = committed(service, upload_id)
    (file,) = kept(home)
    if damage == "torn":
        os.truncate(file, offset - 1000)
    else:
        file.write_bytes(file.read_bytes()[: offset - 1000] + (bytes(1000) if damage == "zeros" else b"x" * 1000))
    with refused(FAILED_PRECONDITION, "go on from there" if damage == "torn" else "begin again with write_offset 0"):
        go_on(service, upload_id, offset)
    assert committed(service, upload_id) == (offset - 1000 if damage == "torn" else offset)
    assert go_on(service, upload_id, offset - 1000).example_count == 20


def test_a_client_that_has_changed_its_files_is_told(service: RunningService) -> None:
    """By the digest of what it sent before, not after gigabytes more."""
    upload_id, other = new_id(), tar_of(photos() | {"blue/0.png": picture("green", 77)})
    with begun(service, upload_id, 4 * CHUNK):
        pass
    with refused(FAILED_PRECONDITION, "what is uploaded has changed"):
        service.training.UploadDataset(upload_messages(other, upload_id=upload_id, offset=CHUNK), timeout=TIMEOUT)
    dataset = service.training.UploadDataset(upload_messages(other, upload_id=upload_id), timeout=TIMEOUT)
    assert dataset.digest != service.upload(ARCHIVE, "before").digest


SHA = hashlib.sha256(b"").hexdigest()


@pytest.mark.parametrize(
    ("header", "field"),
    [
        ({"upload_id": "short"}, "header.upload_id"),
        ({"upload_id": "../../../etc/passwd"}, "header.upload_id"),
        ({"upload_id": "x" * 65}, "header.upload_id"),
        ({"upload_id": "x" * 16, "write_offset": -1}, "header.write_offset"),
        ({"write_offset": 1, "committed_sha256": SHA}, "header.write_offset"),
        ({"upload_id": "x" * 16, "write_offset": 1}, "header.committed_sha256"),
        ({"upload_id": "x" * 16, "write_offset": 1, "committed_sha256": SHA.upper()}, "header.committed_sha256"),
    ],
)
def test_headers_that_say_nothing_are_refused(service: RunningService, header: dict[str, object], field: str) -> None:
    """The field is named."""
    message = pb.UploadDatasetRequest(header=pb.UploadDatasetRequest.Header(dataset_id="photos", **header))
    with refused(INVALID, fields=[field]):
        service.training.UploadDataset(iter([message]), timeout=TIMEOUT)
    with refused(INVALID, fields=["upload_id"]):
        service.training.QueryUpload(pb.QueryUploadRequest(upload_id="../uploads"), timeout=TIMEOUT)


@pytest.mark.parametrize("offset", [10**18, 2**63 - 1])
def test_a_client_that_lies_about_the_offset_gets_nowhere(service: RunningService, home: Path, offset: int) -> None:
    """Nothing is made, grown or lost; the honest one goes on beside it."""
    upload_id = new_id()
    header = pb.UploadDatasetRequest.Header(
        dataset_id="photos", upload_id=upload_id, write_offset=offset, committed_sha256=SHA
    )
    with refused(NOT_FOUND, "begin it with write_offset 0"):
        service.training.UploadDataset(iter([pb.UploadDatasetRequest(header=header)]), timeout=TIMEOUT)
    with begun(service, upload_id, 4 * CHUNK) as honest:
        with refused(FAILED_PRECONDITION, "bytes of this upload are here"):
            service.training.UploadDataset(iter([pb.UploadDatasetRequest(header=header)]), timeout=TIMEOUT)
        header.upload_id = upload_id[:-1] + "x"
        with refused(NOT_FOUND):
            service.training.UploadDataset(iter([pb.UploadDatasetRequest(header=header)]), timeout=TIMEOUT)
        assert sum(file.stat().st_size for file in kept(home)) <= len(ARCHIVE)
        honest.go_on.set()
        assert honest.call.result(TIMEOUT).example_count == 20


def test_a_refused_upload_leaves_nothing(service: RunningService, home: Path) -> None:
    """Its archive is no better when it is sent again."""
    for messages in (
        upload_messages(b"no archive" * 2000, upload_id=new_id()),
        [*list(upload_messages(ARCHIVE, upload_id=new_id()))[:-1], pb.UploadDatasetRequest(sha256="0" * 64)],
    ):
        with refused(INVALID):
            service.training.UploadDataset(iter(messages), timeout=TIMEOUT)
        assert kept(home) == []


def test_a_stream_without_its_end_is_kept(service: RunningService) -> None:
    """A client that goes looks like one that has sent all: it is told that the digest is missing, and can go on."""
    upload_id = new_id()
    with refused(INVALID, fields=["sha256"]):
        service.training.UploadDataset(iter(list(upload_messages(ARCHIVE, upload_id=upload_id))[:5]), timeout=TIMEOUT)
    assert committed(service, upload_id) == 4 * CHUNK
    assert go_on(service, upload_id, 4 * CHUNK).example_count == 20


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
