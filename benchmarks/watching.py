"""How long a move of an alias takes beside many who watch: `python -m benchmarks.watching`.

As many watchers follow the change feed and the events of a job; calm and watched moves take turns.
"""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import grpc
from maas.model_store.v1 import model_store_pb2 as pb
from maas.model_store.v1 import model_store_pb2_grpc

from benchmarks.harness.figures import Figure, Options, Part, in_turn, median_ratio, run_parts
from grpc_runtime.child_process import command_of
from grpc_runtime.settings import StoreSettings
from maas_client.stack.processes import TRAINING, ServiceProcess
from model_store.names import VersionName
from model_store.records.jobs import JobSpec
from model_store.records.resources import Dataset
from model_store.registry.datasets import DatasetStore
from model_store.registry.jobs import JobStore
from model_store.registry.models import ModelStore
from tests.model_store.making import publication

_START_SECONDS = 120.0
_MODEL = "watched"


def moves(folder: Path, options: Options) -> Iterator[Figure]:
    """Move an alias to and fro, with and without watchers."""
    num_watchers, num_moves, num_rounds = (50, 20, 2) if options.quick else (500, 50, 5)
    job = _fill(folder)
    environment = {"MAAS_HOME": str(folder), "MAAS_TRAINING_BIND": "127.0.0.1:0"}
    environment["MAAS_TRAINING_NUM_CONCURRENT_JOBS"] = "0"
    service = ServiceProcess(TRAINING, folder / "run", environment)
    try:
        address = service.await_serving(_START_SECONDS)
        with grpc.insecure_channel(address) as channel:
            registry = model_store_pb2_grpc.ModelStoreServiceStub(channel)

            def calm() -> float:
                return _median_ms(registry, num_moves)

            def watched() -> float:
                with _watchers(address, job, num_watchers):
                    return _median_ms(registry, num_moves)

            calm()  # the first calls of a process are slow
            alone, beside = in_turn(num_rounds, calm, watched)
    finally:
        service.stop()
    yield Figure("a move of an alias, p50", statistics.median(alone), "ms")
    yield Figure(f"beside {num_watchers} watchers of changes and of a job each, p50", statistics.median(beside), "ms")
    yield Figure("beside watchers / without", median_ratio(beside, alone), "x")


def _fill(folder: Path) -> str:
    """Publish two versions and queue a job; return its name."""
    settings = StoreSettings(home=folder)
    database = settings.open_database()
    store = ModelStore(database, settings.open_blobs())
    for seeds in ((1, 2), (1, 3)):
        store.publish(publication(store, _MODEL, seeds))
    digest = store.blobs.put([b"rows"]).digest
    DatasetStore(database, store.blobs).register(Dataset("d", digest, (), 3, 4, {}, datetime.now(UTC)))
    spec = JobSpec("flowers", VersionName(_MODEL, 1), "d", {"name": "linear_probe"}, 0, None)
    job = JobStore(database).enqueue(spec)
    database.close()
    return job.name


def _median_ms(registry: model_store_pb2_grpc.ModelStoreServiceStub, num_moves: int) -> float:
    """Return the median of the milliseconds of a move."""
    taken: list[float] = []
    move: Callable[[pb.SetAliasRequest], pb.Alias] = registry.SetAlias
    for number in range(num_moves):
        version = f"models/{_MODEL}/versions/{1 + number % 2}"
        request = pb.SetAliasRequest(name=f"models/{_MODEL}/aliases/production", version=version)
        start = time.perf_counter()
        move(request)
        taken.append((time.perf_counter() - start) * 1000)
    return statistics.median(taken)


@contextmanager
def _watchers(address: str, job: str, num_each: int) -> Iterator[None]:
    command = (*command_of("benchmarks.harness.watchers"), address, job, str(num_each))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        if process.stdin is None or process.stdout is None:
            raise ValueError("the watchers were started without pipes")
        if process.stdout.readline() != b"watching\n":
            raise ValueError("the watchers did not begin")
        try:
            yield
        finally:
            process.stdin.close()


PARTS: dict[str, Part] = {part.__name__: part for part in (moves,)}

if __name__ == "__main__":
    run_parts("watching", __doc__ or "", PARTS)
