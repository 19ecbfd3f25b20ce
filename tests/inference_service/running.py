"""A real inference service in a thread of the tests, on the event loop of production, and what they ask of it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import uvloop
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status
from maas.inference.v1 import inference_pb2 as pb
from maas.inference.v1 import inference_pb2_grpc

from inference_service.__main__ import build
from inference_service.server import InferenceServer
from inference_service.settings import InferenceSettings
from model_store.names import VersionName

TIMEOUT = 20.0


@dataclass(frozen=True)
class RunningService:
    """A service and a channel to it; `server` is there to look inside."""

    server: InferenceServer
    channel: grpc.Channel
    stub: inference_pb2_grpc.InferenceServiceStub
    stop: Callable[[], None]
    failures: Sequence[Exception]
    address: str

    @property
    def loader_thread(self) -> ThreadPoolExecutor:
        """The thread that loads: a test may keep it busy."""
        thread = self.server._manager._transitions._loading._loader_thread
        assert isinstance(thread, ThreadPoolExecutor)
        return thread

    def predict(self, name: str, *images: bytes, top_k: int = 0) -> pb.PredictResponse:
        """Classify encoded images."""
        return self.stub.Predict(predict_request(name, *images, top_k=top_k), timeout=TIMEOUT)

    def embed(self, name: str, *images: bytes) -> pb.EmbedResponse:
        """Embed encoded images."""
        return self.stub.Embed(pb.EmbedRequest(name=name, examples=_encoded(images)), timeout=TIMEOUT)

    def state(self, model_id: str = "flowers") -> pb.ServedModel:
        """Ask how a model stands."""
        return self.stub.GetServedModel(pb.GetServedModelRequest(name=f"models/{model_id}"), timeout=TIMEOUT)

    def await_state(self, version: VersionName, state: pb.VersionState) -> pb.ServedVersion:
        """Wait until a version is in a state."""
        name = f"models/{version.model_id}"
        for update in self.stub.WatchServedModels(pb.WatchServedModelsRequest(name=name), timeout=TIMEOUT):
            for report in update.versions:
                if (report.name, report.state) == (str(version), state):
                    return report
        raise AssertionError(f"{version} never was {state}")

    def await_serving(self) -> None:
        """Wait until health is SERVING."""
        for answer in self.watch_health():
            if answer.status == health_pb2.HealthCheckResponse.SERVING:
                return

    def watch_health(self) -> Iterator[health_pb2.HealthCheckResponse]:
        """Follow the service's health."""
        request = health_pb2.HealthCheckRequest(service="maas.inference.v1.InferenceService")
        return health_pb2_grpc.HealthStub(self.channel).Watch(request, timeout=TIMEOUT)


@contextmanager
def running_service(home: Path, **settings: Any) -> Iterator[RunningService]:
    """Run a service on the store in this folder and a free port, until the block ends."""
    address_file = home / "address"
    address_file.unlink(missing_ok=True)
    defaults = {
        "bind": "127.0.0.1:0",
        "poll_seconds": 0.02,
        "retry_first_seconds": 0.05,
        "max_example_size": {"image": 10**6},
    }
    chosen = InferenceSettings(home=home, address_file=address_file, **(defaults | settings))
    started: list[tuple[InferenceServer, asyncio.AbstractEventLoop, asyncio.Event]] = []
    built = threading.Event()
    failures: list[Exception] = []

    async def serve() -> None:
        stopping = asyncio.Event()
        with build(chosen) as server:
            started.append((server, asyncio.get_running_loop(), stopping))
            built.set()
            try:
                await server.run(stopping)
            except Exception as error:  # noqa: BLE001  whatever ends it, for the test to look at
                failures.append(error)

    thread = threading.Thread(target=lambda: uvloop.run(serve()), name="service")
    thread.start()
    assert built.wait(TIMEOUT)
    server, loop, stopping = started.pop()

    def stop() -> None:
        if thread.is_alive():
            loop.call_soon_threadsafe(stopping.set)
            thread.join(TIMEOUT)
        assert not thread.is_alive()

    try:
        until(address_file.exists)
        address = address_file.read_text()
        with grpc.insecure_channel(address) as channel:
            stub = inference_pb2_grpc.InferenceServiceStub(channel)
            yield RunningService(server, channel, stub, stop, failures, address)
    finally:
        stop()


def predict_request(name: str, *images: bytes, top_k: int = 0) -> pb.PredictRequest:
    """Ask for labels of encoded images."""
    return pb.PredictRequest(name=name, examples=_encoded(images), top_k=top_k)


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that nobody announces, such as memory being freed; fail after a while."""
    give_up = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < give_up
        threading.Event().wait(0.005)


@contextmanager
def refused(code: grpc.StatusCode, text: str = "") -> Iterator[None]:
    """Expect a call to end with this code and this text in its message."""
    with pytest.raises(grpc.RpcError) as caught:
        yield
    assert caught.value.code() is code, caught.value
    assert text in caught.value.details()


@contextmanager
def refused_fields(*fields: str) -> Iterator[None]:
    """Expect a call to end with INVALID_ARGUMENT and violations of these fields."""
    with pytest.raises(grpc.RpcError) as caught:
        yield
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT, caught.value
    status = rpc_status.from_call(caught.value)
    bad_request = error_details_pb2.BadRequest()
    assert status.details[0].Unpack(bad_request)
    assert tuple(each.field for each in bad_request.field_violations) == fields


def _encoded(images: tuple[bytes, ...]) -> list[pb.Example]:
    return [pb.Example(file=data) for data in images]
