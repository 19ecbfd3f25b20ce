"""A real training service in a thread of the tests, and what they ask of it."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from maas.model_store.v1 import model_store_pb2_grpc
from maas.training.v1 import training_pb2 as pb
from maas.training.v1 import training_pb2_grpc

from grpc_runtime.principals import authenticated
from model_store.registry.datasets import DatasetStore
from model_store.registry.models import ModelStore
from tests.training_service.making import open_store
from training_service.__main__ import build
from training_service.jobs.fork_server import process_name
from training_service.jobs.worker_process import JOB_WORKER
from training_service.settings import TrainingSettings

TIMEOUT = 60.0
CHUNK = 10_000


@dataclass(frozen=True)
class RunningService:
    """A service and a channel to it; `store` reads and writes beside it."""

    store: ModelStore
    channel: grpc.Channel
    training: training_pb2_grpc.TrainingServiceStub
    registry: model_store_pb2_grpc.ModelStoreServiceStub
    stop: Callable[[], None]

    @property
    def datasets(self) -> DatasetStore:
        """The register of datasets, beside the service."""
        return DatasetStore(self.store._database, self.store.blobs)

    def upload(
        self,
        archive: bytes,
        dataset_id: str = "photos",
        split: pb.SplitSpec | None = None,
        parent: str = "",
        **header: Any,
    ) -> pb.Dataset:
        """Upload an archive, or a table; `header` are further fields of its header."""
        messages = upload_messages(archive, dataset_id, split, parent, **header)
        return self.training.UploadDataset(messages, timeout=TIMEOUT)

    def rows(self, dataset_id: str = "photos") -> dict[str, pb.DatasetRow]:
        """Return the rows of a dataset by path."""
        request = pb.ListDatasetRowsRequest(parent=f"datasets/{dataset_id}", page_size=1000)
        return {row.path: row for row in self.training.ListDatasetRows(request, timeout=TIMEOUT).rows}

    def create(self, request_id: str = "", *, text_base: str = "", text_column: str = "", **job: Any) -> pb.TrainingJob:
        """Queue a linear probe of `base` on `photos`, or what is asked for instead."""
        defaults = {
            "model": "models/flowers",
            "base": "models/base",
            "dataset": "datasets/photos",
            "recipe": pb.Recipe(linear_probe={}),
        }
        request = pb.CreateTrainingJobRequest(
            training_job=pb.TrainingJob(**(defaults | job)),
            request_id=request_id,
            text_base=text_base,
            text_column=text_column,
        )
        return self.training.CreateTrainingJob(request, timeout=TIMEOUT)

    def job(self, name: str) -> pb.TrainingJob:
        """Return one job."""
        return self.training.GetTrainingJob(pb.GetTrainingJobRequest(name=name), timeout=TIMEOUT)

    def watch(self, name: str, after_sequence: int = 0) -> Iterator[pb.TrainingJobEvent]:
        """Follow a job to its end."""
        request = pb.WatchTrainingJobRequest(name=name, after_sequence=after_sequence)
        yield from self.training.WatchTrainingJob(request, timeout=TIMEOUT)

    def await_training(self, name: str, after_sequence: int = 0) -> int:
        """Wait until a job takes steps, and return the number of the event that said so."""
        for event in self.watch(name, after_sequence):
            if event.progress.phase == pb.PHASE_TRAINING and event.progress.epoch:
                return event.sequence
        raise AssertionError(f"{name} ended before it trained: {self.job(name)}")

    def await_end(self, name: str) -> pb.TrainingJob:
        """Wait until a job has ended."""
        for _ in self.watch(name):
            pass
        return self.job(name)


def settings_of(home: Path, kind: type[TrainingSettings] = TrainingSettings, **chosen: Any) -> TrainingSettings:
    """Return settings for a quick test on a free port."""
    defaults = {
        "bind": "127.0.0.1:0",
        "poll_seconds": 0.05,
        "heartbeat_seconds": 0.2,
        "num_threads": 1,
        "device": "cpu",
    }
    return kind(home=home, address_file=home / "address", **(defaults | chosen))


@contextmanager
def running_service(home: Path, *, principal: str = "", **settings: Any) -> Iterator[RunningService]:
    """Run a service on the store in this folder and a free port, until the block ends; calls are this principal's."""
    chosen = settings_of(home, **settings)
    (home / "address").unlink(missing_ok=True)
    loops: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve() -> None:
        stopping = asyncio.Event()
        loops.append((asyncio.get_running_loop(), stopping))
        with authenticated(principal), build(chosen, stopping) as server:
            await server.run()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="service")
    thread.start()

    def stop() -> None:
        if thread.is_alive():
            loop, stopping = loops[0]
            loop.call_soon_threadsafe(stopping.set)
            thread.join(TIMEOUT)
        assert not thread.is_alive()

    try:
        until((home / "address").exists)
        with grpc.insecure_channel((home / "address").read_text()) as channel:
            training = training_pb2_grpc.TrainingServiceStub(channel)
            registry = model_store_pb2_grpc.ModelStoreServiceStub(channel)
            yield RunningService(open_store(home), channel, training, registry, stop)
    finally:
        stop()


def upload_messages(
    archive: bytes,
    dataset_id: str = "photos",
    split: pb.SplitSpec | None = None,
    parent: str = "",
    upload_id: str = "",
    offset: int = 0,
    **header: Any,
) -> Iterator[pb.UploadDatasetRequest]:
    """Yield the messages of an upload, or of what is left of it from an offset on."""
    first = pb.UploadDatasetRequest.Header(
        dataset_id=dataset_id, split=split, parent=parent, upload_id=upload_id, **header
    )
    if offset:
        first.write_offset, first.committed_sha256 = offset, hashlib.sha256(archive[:offset]).hexdigest()
    yield pb.UploadDatasetRequest(header=first)
    for start in range(offset, len(archive), CHUNK):
        yield pb.UploadDatasetRequest(chunk=archive[start : start + CHUNK])
    yield pb.UploadDatasetRequest(sha256=hashlib.sha256(archive).hexdigest())


def split_of(row: pb.DatasetRow) -> str:
    """Return the split that a row is in, as manifests name it."""
    return pb.Split.Name(row.split).removeprefix("SPLIT_").lower()


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that nobody announces; fail after a while."""
    give_up = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < give_up
        threading.Event().wait(0.01)


def worker_pids(parent: int | None = None, module: str = JOB_WORKER) -> set[int]:
    """Return the worker processes of a service; of one in this process where no parent is given."""
    name = process_name(module)
    return {each.pid for each in psutil.Process(parent).children(recursive=True) if each.name() == name}


@contextmanager
def refused(
    code: grpc.StatusCode, text: str = "", *, fields: Iterable[str] = ()
) -> Iterator[pytest.ExceptionInfo[grpc.RpcError]]:
    """Expect a call to be refused with a code, a text, and violations of exactly these fields where any are given."""
    with pytest.raises(grpc.RpcError) as caught:
        yield caught
    assert caught.value.code() is code, caught.value
    assert text in caught.value.details()
    if wanted := set(fields):
        bad_request = error_details_pb2.BadRequest()
        rpc_status.from_call(caught.value).details[0].Unpack(bad_request)
        assert {each.field for each in bad_request.field_violations} == wanted
