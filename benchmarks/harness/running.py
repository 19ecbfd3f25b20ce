"""A real inference service in a process of its own, on a store of its own, and what it says of itself."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import psutil
from maas.inference.v1 import inference_pb2 as pb
from maas.inference.v1 import inference_pb2_grpc
from maas.open_inference.v2 import open_inference_pb2 as open_pb
from maas.open_inference.v2 import open_inference_pb2_grpc

from benchmarks.harness.load import Plan, Result, load
from grpc_runtime.settings import StoreSettings
from maas_client.stack.processes import INFERENCE, ServiceProcess
from model_store.registry.models import ModelStore

# A service that runs wild is not to take the machine with it.
_MEMORY_BYTES = 12 * 1024**3
_UNLIMITED = [("grpc.max_receive_message_length", -1)]


@dataclass(frozen=True)
class Served:
    """A running service: where it listens, its process's number and its stubs."""

    home: Path
    address: str
    pid: int
    stub: inference_pb2_grpc.InferenceServiceStub
    open_stub: open_inference_pb2_grpc.GRPCInferenceServiceStub

    def load(self, *models: str, body: Path, **plan: Any) -> Result:  # noqa: ANN401  each as its field wants it
        """Send requests to models in turn; `plan` are the other fields of a Plan."""
        return load(Plan(self.address, str(body), heads_of(*models), **plan))

    def states(self) -> Iterator[pb.ServedModel]:
        """Yield how each model stands."""
        token = ""
        while True:
            page = self.stub.ListServedModels(pb.ListServedModelsRequest(page_size=1000, page_token=token))
            yield from page.served_models
            token = page.next_page_token
            if not token:
                return

    def await_ready(self, version: str) -> pb.ServedVersion:
        """Wait until a version answers, and return how it stands."""
        model = version.rpartition("/versions/")[0]
        for state in self.stub.WatchServedModels(pb.WatchServedModelsRequest(name=model), timeout=60):
            for report in state.versions:
                if report.name == version and report.state == pb.VERSION_STATE_READY:
                    return report
        raise AssertionError(f"{version} is not served")

    def await_openvino(self, model: str) -> None:
        """Wait until all READY versions of a model run by OpenVINO: before that, a core compiles their stages."""
        for state in self.stub.WatchServedModels(pb.WatchServedModelsRequest(name=model), timeout=120):
            ready = [each.backend for each in state.versions if each.state == pb.VERSION_STATE_READY]
            if ready and all(backend == pb.BACKEND_OPENVINO for backend in ready):
                return
        raise AssertionError(f"{model} is not served by OpenVINO")

    def precision(self, version: str) -> str:
        """Return what a version is served in, such as BFLOAT16."""
        model = version.rpartition("/versions/")[0]
        state = self.stub.GetServedModel(pb.GetServedModelRequest(name=model))
        (found,) = (each.precision for each in state.versions if each.name == version)
        return str(pb.Precision.Name(found)).removeprefix("PRECISION_")

    def num_rows_run(self, model: str) -> int:
        """Return how many rows the device ran for a model's loaded versions."""
        statistics = self.open_stub.ModelStatistics(open_pb.ModelStatisticsRequest(name=model))
        return sum(each.inference_count for each in statistics.model_stats)

    @property
    def rss_bytes(self) -> int:
        """Return the process's resident memory in bytes."""
        return int(psutil.Process(self.pid).memory_info().rss)


@contextmanager
def serving(home: Path, **settings: object) -> Iterator[Served]:
    """Serve the store in this folder until the block ends; `settings` are the service's, by name."""
    environment = {"MAAS_HOME": str(home), "MAAS_INFERENCE_BIND": "127.0.0.1:0"}
    environment |= {f"MAAS_INFERENCE_{name.upper()}": str(value) for name, value in settings.items()}
    service = ServiceProcess(INFERENCE, home / "run", environment)
    try:
        resource.prlimit(service.pid, resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
        address = service.await_serving(60)
        with grpc.insecure_channel(address, options=_UNLIMITED) as channel:
            yield Served(
                home,
                address,
                service.pid,
                inference_pb2_grpc.InferenceServiceStub(channel),
                open_inference_pb2_grpc.GRPCInferenceServiceStub(channel),
            )
    finally:
        service.stop()


def open_store(home: Path) -> ModelStore:
    """Open the store that a service with this home serves."""
    settings = StoreSettings(home=home)
    return ModelStore(settings.open_database(), settings.open_blobs())


def heads_of(*models: str) -> tuple[str, ...]:
    """Return the first field of a request to each model, as a Plan has it: messages are fields one behind the other."""
    return tuple(open_pb.ModelInferRequest(model_name=each).SerializeToString().hex() for each in models)
