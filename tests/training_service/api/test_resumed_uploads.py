"""Uploads that break off go on where they stopped, whatever ended them."""

from __future__ import annotations

import hashlib
import os
import random
import threading
from collections.abc import Iterator
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
from tests.training_service.uploading import ARCHIVE, begun, committed, go_on, kept, new_id

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


def test_an_upload_that_is_cut_behind_its_last_byte(service: RunningService) -> None:
    """Nothing is left to send but the digest."""
    upload_id = new_id()
    with refused(INVALID, fields=["sha256"]):
        service.training.UploadDataset(iter(list(upload_messages(ARCHIVE, upload_id=upload_id))[:-1]), timeout=TIMEOUT)
    assert committed(service, upload_id) == len(ARCHIVE)
    assert len(list(upload_messages(ARCHIVE, upload_id=upload_id, offset=len(ARCHIVE)))) == 2
    assert go_on(service, upload_id, len(ARCHIVE)).digest == service.upload(ARCHIVE, "again").digest


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


def test_a_stream_without_its_end_is_kept(service: RunningService) -> None:
    """A client that goes looks like one that has sent all: it is told that the digest is missing, and can go on."""
    upload_id = new_id()
    with refused(INVALID, fields=["sha256"]):
        service.training.UploadDataset(iter(list(upload_messages(ARCHIVE, upload_id=upload_id))[:5]), timeout=TIMEOUT)
    assert committed(service, upload_id) == 4 * CHUNK
    assert go_on(service, upload_id, 4 * CHUNK).example_count == 20
