"""The same work without a service: how fast its prepared stages, and plain PyTorch, run in a process of their own."""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from benchmarks.harness.making import NUM_LABELS, photo
from benchmarks.harness.running import open_store
from grpc_runtime.settings import StoreSettings
from inference_service.batching.queue_entry import Part
from inference_service.execution.executor import Executor
from inference_service.execution.row_threads import RowThreads, has_siblings
from inference_service.execution.work import Output, Work
from inference_service.models.calibration_check import Calibrator
from inference_service.models.cpu.compiled_stages import CompiledStages
from inference_service.models.cpu.openvino import OpenVino
from inference_service.models.loader import Loader
from inference_service.models.resident import ResidentVersion
from model_store.architectures.torchvision_compat import torchvision
from model_store.blobs.cache import BlobCache
from model_store.modalities import Rows, X
from model_store.transactions.listings import ListRequest

BATCHES = (4, 8, 16, 32)
Make = Callable[..., Callable[[], object]]
"""Makes, of a number of rows and further arguments, what runs one batch of them."""


class InProcess:
    """Runs batches in another process, one measurement at a time."""

    def __init__(self, pool: ProcessPoolExecutor, make: Make, *arguments: Hashable) -> None:
        self._pool = pool
        self._make = make
        self._arguments = arguments

    def seconds_a_batch(self, num_rows: int, seconds: float) -> float:
        """Run batches of so many rows for so long, and return the median of what they took."""
        return self._pool.submit(_median_seconds, self._make, num_rows, self._arguments, seconds).result()

    def best_batch(self, seconds: float) -> int:
        """Return the size at which most rows a second run, each tried for so long; 16 where there is no time for it."""
        return max(BATCHES, key=lambda num_rows: self.rate(num_rows, seconds)) if seconds else 16

    def rate(self, num_rows: int, seconds: float) -> float:
        """Run batches for so long, and return the rows a second."""
        return self._pool.submit(_rate, self._make, num_rows, self._arguments, seconds).result()


@contextmanager
def in_process(make: Make, *arguments: Hashable) -> Iterator[InProcess]:
    """Start a process that runs what `make` makes there."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        yield InProcess(pool, make, *arguments)


@lru_cache
def prepared(num_rows: int, home: Path, model: str, precision: str = "float32") -> Callable[[], object]:
    """Run rows through the newest version of a model of this store, as the service does once it has them.

    `precision` is one of the service's settings: `auto` chooses by the version's own rows, as the service does.
    """
    executor, version = _loaded(home, model, precision)
    spec = version.input_spec
    shape = spec.tensors()[0].shape
    rows = Rows({X: np.random.default_rng(0).standard_normal((num_rows, *shape), np.float32)}, num_rows)
    return lambda: _run(executor, version, rows)


@lru_cache
def prepared_photos(num_rows: int, home: Path, model: str) -> Callable[[], object]:
    """As `prepared`, of JPEG files; those of the next batches are decoded in threads while a batch runs."""
    executor, version = _loaded(home, model, "float32")
    threads, coming, data = ThreadPoolExecutor(4), deque[list[Future[Rows]]](), photo()
    spec = version.input_spec

    def decode() -> Rows:
        return spec.open(data, 10**7).prepare()

    def work() -> None:
        while len(coming) < 3:
            coming.append([threads.submit(decode) for _ in range(num_rows)])
        _run(executor, version, spec.collate([each.result() for each in coming.popleft()]))

    return work


@lru_cache
def prepared_texts(num_rows: int, home: Path, model: str, texts: tuple[str, ...]) -> Callable[[], object]:
    """As `prepared`, of texts, all of them once in each run: batches of so many rows of about one length."""
    executor, version = _loaded(home, model, "float32")
    spec = version.input_spec
    rows = sorted((spec.open(text, 10**6).prepare() for text in texts), key=spec.cost)
    batches = [spec.collate(rows[start : start + num_rows]) for start in range(0, len(rows), num_rows)]

    def work() -> None:
        for batch in batches:
            _run(executor, version, batch)

    return work


@lru_cache
def eager(num_rows: int, architecture: str) -> Callable[[], object]:
    """Run rows through torchvision's own model, float32 and eager, as most people would."""
    model = torchvision.models.get_model(architecture, num_classes=NUM_LABELS).eval()
    rows = torch.randn(num_rows, 3, 224, 224)

    def work() -> None:
        with torch.inference_mode():
            model(rows).softmax(dim=1)

    return work


@lru_cache
def _loaded(home: Path, model: str, precision: str) -> tuple[Executor, ResidentVersion]:
    store, device = open_store(home), torch.device("cpu")
    executor = Executor(device, RowThreads(torch.get_num_threads(), has_siblings=has_siblings()))
    version = store.list_versions(model, ListRequest()).items[0]
    cache = BlobCache(StoreSettings(home=home).cache_folder / "compiled", 2**30)
    compiled = CompiledStages(cache, store.blobs, OpenVino(torch.get_num_threads()))  # as a service left them
    calibrator = Calibrator(store.blobs, device, ThreadPoolExecutor(1), lambda _: version.calibration)
    loader = Loader(store.blobs, device, executor.warm_up, calibrator, precision, compiled=compiled)
    return executor, loader.load(version.name, version.manifest_digest)


def _run(executor: Executor, version: ResidentVersion, rows: Rows) -> None:
    executor.run([Part(Work(version, rows, frozenset({Output.SCORES})), 0, len(rows))])


def _rate(make: Make, num_rows: int, arguments: tuple[Hashable, ...], seconds: float) -> float:
    taken = _run_for(make(num_rows, *arguments), seconds)
    return num_rows * len(taken) / sum(taken)


def _median_seconds(make: Make, num_rows: int, arguments: tuple[Hashable, ...], seconds: float) -> float:
    return statistics.median(_run_for(make(num_rows, *arguments), seconds))


def _run_for(work: Callable[[], object], seconds: float) -> list[float]:
    work()
    taken, end = [], time.perf_counter() + seconds
    while (started := time.perf_counter()) < end:
        work()
        taken.append(time.perf_counter() - started)
    return taken
