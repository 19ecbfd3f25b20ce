"""Clients that begin to send and go silent, or whose link is cut, hold up nobody and leave nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import grpc
import pytest
from maas.model_store.v1 import model_store_pb2 as registry_pb
from maas.training.v1 import training_pb2 as pb
from maas.training.v1 import training_pb2_grpc

from tests.links import Link
from tests.training_service.making import photos, tar_of
from tests.training_service.running import TIMEOUT, RunningService, running_service, until, upload_messages

ARCHIVE = tar_of(photos())
NUM_SILENT = 40  # more than the service has threads for uploads


def num_kept_uploads(home: Path) -> int:
    """Return how many archives are being received by the service with this home."""
    return len(list((home / "blobs/uploads").glob("*.*")))


@contextmanager
def silent_uploads(service: RunningService, home: Path, num: int) -> Iterator[list[grpc.Future]]:
    """Begin so many uploads and send no more than their first chunk, until the block ends."""
    go_on = threading.Event()

    def begun(number: int) -> Iterator[pb.UploadDatasetRequest]:
        messages = upload_messages(ARCHIVE, f"silent-{number}")
        yield next(messages)
        yield next(messages)
        go_on.wait(TIMEOUT)

    calls = [service.training.UploadDataset.future(begun(number), timeout=TIMEOUT) for number in range(num)]
    try:
        until(lambda: num_kept_uploads(home) == num)
        yield calls
    finally:
        for call in calls:
            call.cancel()
        go_on.set()


def test_silent_clients_hold_up_nobody(tmp_path: Path) -> None:
    """Other uploads are taken beside them, and other publishers are answered."""
    with running_service(tmp_path, num_concurrent_jobs=0) as service, silent_uploads(service, tmp_path, NUM_SILENT):
        assert service.upload(ARCHIVE).example_count == 20
        with pytest.raises(grpc.RpcError) as caught:
            service.registry.PublishModelVersion(iter([registry_pb.PublishModelVersionRequest()]), timeout=TIMEOUT)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_silent_clients_are_given_up(tmp_path: Path) -> None:
    """With nothing of theirs left behind."""
    with (
        running_service(tmp_path, num_concurrent_jobs=0, upload_idle_seconds=1.0) as service,
        silent_uploads(service, tmp_path, 3) as calls,
    ):
        for call in calls:
            assert call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            assert "nothing has come for 1 s" in call.details()
        until(lambda: num_kept_uploads(tmp_path) == 0)


def test_silent_publishers_hold_up_nobody(tmp_path: Path) -> None:
    """Not even uploads, which share their threads."""
    with running_service(tmp_path, num_concurrent_jobs=0) as service, ExitStack() as stack:
        go_on = threading.Event()
        stack.callback(go_on.set)

        def begun() -> Iterator[registry_pb.PublishModelVersionRequest]:
            yield from ()
            go_on.wait(TIMEOUT)

        calls = [service.registry.PublishModelVersion.future(begun(), timeout=TIMEOUT) for _ in range(NUM_SILENT)]
        for call in calls:
            stack.callback(call.cancel)
        assert service.upload(ARCHIVE).example_count == 20


def test_a_link_that_is_cut_ends_its_calls(tmp_path: Path) -> None:
    """Long before an upload may be silent for too long: the server's pings are not answered."""
    with (
        running_service(tmp_path, num_concurrent_jobs=0, keepalive_seconds=0.5, upload_idle_seconds=600) as service,
        ExitStack() as stack,
    ):
        link, go_on = Link((tmp_path / "address").read_text()), threading.Event()
        stack.callback(link.close)
        stack.callback(go_on.set)

        def begun() -> Iterator[pb.UploadDatasetRequest]:
            messages = upload_messages(ARCHIVE)
            yield next(messages)
            yield next(messages)
            go_on.wait(TIMEOUT)

        channel = stack.enter_context(grpc.insecure_channel(link.address))
        call = training_pb2_grpc.TrainingServiceStub(channel).UploadDataset.future(begun())
        stack.callback(call.cancel)
        until(lambda: num_kept_uploads(tmp_path) == 1)
        link.cut()
        until(lambda: num_kept_uploads(tmp_path) == 0)
        assert service.upload(ARCHIVE).example_count == 20
