"""Uploads with an id, begun and gone on with as the tests need them."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
from maas.training.v1 import training_pb2 as pb

from tests.training_service.making import photos, tar_of
from tests.training_service.running import CHUNK, TIMEOUT, RunningService, until, upload_messages

ARCHIVE = tar_of(photos())


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
        if error.code() is not grpc.StatusCode.NOT_FOUND:
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
