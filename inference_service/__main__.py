"""Starts the inference service: settings become parts, and parts a server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from typing import TypeVar

import structlog
import torch

from grpc_runtime.database_start import opened_database
from grpc_runtime.errors import refusal
from grpc_runtime.server import GrpcServer, stop_signals
from grpc_runtime.startup import run_service
from inference_service.api.servicer import InferenceServicer
from inference_service.backoff import Backoff
from inference_service.batching.device_threads import DeviceThreads, set_torch_threads
from inference_service.batching.queue_capacity import CostLimits
from inference_service.batching.scheduler import Scheduler
from inference_service.desired.desired_versions import DesiredVersions, Policies, WantedModel
from inference_service.desired.source import Source
from inference_service.execution.executor import Executor
from inference_service.execution.row_threads import RowThreads, has_siblings
from inference_service.execution.work import Answer, Work
from inference_service.lifecycle.load_tasks import Loading
from inference_service.lifecycle.manager import Manager
from inference_service.models.calibration_check import Calibrator
from inference_service.models.cpu.compiled_stages import CompiledStages
from inference_service.models.cpu.openvino import OpenVino, import_openvino, openvino_version
from inference_service.models.cuda_graphs import Recorder
from inference_service.models.loader import Loader
from inference_service.models.precision import Backend
from inference_service.models.resident import ResidentVersion
from inference_service.open_inference.repository import Repository
from inference_service.open_inference.server_limits import ServerLimits
from inference_service.open_inference.servicer import OpenInferenceServicer
from inference_service.open_inference.shared_memory import SharedMemory
from inference_service.pipeline.answering import Pipeline
from inference_service.pipeline.decoder import Decoder
from inference_service.pipeline.response_cache import ResponseCache
from inference_service.pipeline.shadow_traffic import ShadowTraffic
from inference_service.server import CODES, InferenceServer, guard_of, registrations
from inference_service.settings import InferenceSettings
from model_store.blobs import BlobStore
from model_store.blobs.cache import BlobCache
from model_store.database.engine import Database
from model_store.errors import InvalidInput
from model_store.registry.models import ModelStore
from model_store.registry.serving_view import ServingView
from model_store.transactions.changes import ChangeFeed

_log = structlog.get_logger()

T = TypeVar("T")
# The way to the device's thread and back costs a quarter of a millisecond where the cores are idle. What took it once
# has to be expected to be short all the same, or a small network would never come back from there.
_SHORT_SECONDS = 0.002


def main() -> None:
    """Serve until SIGINT or SIGTERM; end with 1 and one line on standard error where the service cannot start."""
    run_service("maas-inference-service", InferenceSettings, _serve)


async def _serve(settings: InferenceSettings) -> None:
    stopping = stop_signals(settings)
    database = await opened_database(settings, stopping)
    if database is None:
        return
    with build(settings, database) as server:
        await server.run(stopping)


@contextmanager
def build(settings: InferenceSettings, opened: Database | None = None) -> Iterator[InferenceServer]:
    """Build a service inside the running event loop; raise SchemaMismatch or Unavailable where the store cannot serve.

    Two threads at most use the device, one reads and verifies what is loaded, and a few prepare examples. A
    database that is open already is closed in the end, too.
    """
    device = _device(settings.device)
    num_threads = settings.num_threads or torch.get_num_threads()
    set_torch_threads(1)  # of this one, in which only short batches run
    with (
        closing(opened or settings.open_database()) as database,
        closing(RowThreads(num_threads, has_siblings=has_siblings())) as row_threads,
        DeviceThreads(num_threads, 2 if device.type == "cpu" else 1) as device_threads,
        ThreadPoolExecutor(1, "loader", initializer=set_torch_threads, initargs=(1,)) as loader_thread,
        ThreadPoolExecutor(settings.num_decode_threads, "decoder") as decode_threads,
        ExitStack() as stack,
    ):
        store = ModelStore(database, settings.open_blobs())
        executor = Executor(device, row_threads if device.type == "cpu" else None)

        def warm_up(version: ResidentVersion) -> None:
            if executor.has_run(version) or version.backend is Backend.OPENVINO:
                executor.warm_up(version)
            else:
                run_alone(lambda: executor.warm_up(version))

        def run_alone(work: Callable[[], T]) -> T:
            return device_threads.submit(work).result()

        view = ServingView(database)
        calibrator = Calibrator(store.blobs, device, device_threads, view.calibration)
        recorder = _recorder(settings, device)
        compiled = _compiled_stages(settings, device, store.blobs, num_threads)
        if compiled is not None:
            stack.enter_context(closing(compiled))
        loop = asyncio.get_running_loop()
        loader = Loader(
            store.blobs,
            device,
            warm_up,
            calibrator,
            settings.precision,
            run_alone,
            recorder=recorder,
            compiled=compiled,
            improved=lambda name: loop.call_soon_threadsafe(manager.reload, name),
            drift_window=settings.drift_window,
        )
        desired = DesiredVersions(store, view, _policies(settings))
        loading = Loading(loader.load, loader.stage_bytes, loader_thread, _backoff(settings))
        manager = _manager(settings, loading, desired)
        short_seconds = _SHORT_SECONDS if device.type == "cpu" else 0.0
        scheduler = _scheduler(settings, executor, device_threads, short_seconds=short_seconds)
        decoder = Decoder(decode_threads, settings.limits)
        shadow_traffic = ShadowTraffic(scheduler, decoder)
        cache = ResponseCache(settings.response_cache_mb * 2**20) if settings.response_cache_mb else None
        pipeline = Pipeline(scheduler, decoder, shadow_traffic, cache)
        servicer = InferenceServicer(manager, pipeline, max_examples_per_request=settings.max_examples_per_request)
        source = _source(settings, desired, ChangeFeed(database), manager)
        open_servicer = OpenInferenceServicer(
            manager,
            pipeline,
            Repository(manager, desired.of_model),
            SharedMemory(enabled=settings.shared_memory, prefix=settings.shared_memory_prefix),
            _limits(settings, device),
            refusal=lambda error, method: refusal(error, CODES, method),
        )
        grpc_server = GrpcServer(settings, registrations(servicer, open_servicer), CODES, guard_of(scheduler.admission))
        yield InferenceServer(grpc_server, source, manager, scheduler, open_servicer.close_streams)


def _manager(settings: InferenceSettings, loading: Loading, desired: DesiredVersions) -> Manager:
    return Manager(
        loading,
        drain_deadline_seconds=settings.drain_deadline_seconds,
        budget_bytes=settings.memory_budget_mb * 2**20 or None,
        look_up=desired.look_up if settings.on_demand else None,
    )


def _policies(settings: InferenceSettings) -> Policies:
    return Policies(settings.num_newest_versions, settings.serve_aliases, settings.pinned_targets)


def _scheduler(
    settings: InferenceSettings, executor: Executor, device_threads: DeviceThreads, *, short_seconds: float
) -> Scheduler[Work, Answer]:
    return Scheduler(
        executor.run,
        device_threads,
        {kind: CostLimits(each.batch_cost, each.queue_cost) for kind, each in settings.limits.items()},
        short_seconds=short_seconds,
    )


def _source(settings: InferenceSettings, desired: DesiredVersions, feed: ChangeFeed, manager: Manager) -> Source:
    loop = asyncio.get_running_loop()

    def emit(models: tuple[WantedModel, ...]) -> None:
        loop.call_soon_threadsafe(manager.update, models)

    return Source(
        desired,
        feed,
        emit,
        poll_seconds=settings.poll_seconds,
        backoff=_backoff(settings),
    )


def _limits(settings: InferenceSettings, device: torch.device) -> ServerLimits:
    return ServerLimits(
        max_rows_per_request=settings.max_examples_per_request,
        by_kind=settings.limits,
        has_gpu=device.type == "cuda",
        has_response_cache=settings.response_cache_mb > 0,
    )


def _backoff(settings: InferenceSettings) -> Backoff:
    return Backoff(settings.retry_first_seconds, settings.retry_max_seconds)


def _recorder(settings: InferenceSettings, device: torch.device) -> Recorder | None:
    if settings.cuda_graphs and device.type != "cuda":
        raise InvalidInput.of("cuda_graphs", "is true, but the service runs on a CPU: leave it out there")
    return Recorder(min(each.batch_cost for each in settings.limits.values())) if settings.cuda_graphs else None


def _compiled_stages(
    settings: InferenceSettings, device: torch.device, blobs: BlobStore, num_threads: int
) -> CompiledStages | None:
    """Return the stages that OpenVINO compiled; None where PyTorch runs all. Raises InvalidInput."""
    is_named = settings.cpu_backend == "openvino"
    if device.type != "cpu" and is_named:
        raise InvalidInput.of("cpu_backend", "is openvino, but the service runs on a GPU: leave it out there")
    if device.type != "cpu" or settings.cpu_backend == "torch":
        return None
    if openvino_version() is None:
        if is_named:
            raise InvalidInput.of(
                "cpu_backend", "is openvino, which is not installed: pip install 'maas-transfer[server,openvino]'"
            )
        _log.info("cpu_backend", backend="torch", reason="openvino is not installed")
        return None
    if is_named:
        _check_import()
    cache = BlobCache(settings.cache_folder / "compiled", settings.cache_bytes)
    return CompiledStages(cache, blobs, OpenVino(num_threads))


def _check_import() -> None:
    try:
        import_openvino()
    except ImportError as error:
        raise InvalidInput.of("cpu_backend", f"is openvino, which cannot be imported here: {error}") from error


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise InvalidInput.of("device", "is cuda, but PyTorch finds none here")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


if __name__ == "__main__":
    main()
