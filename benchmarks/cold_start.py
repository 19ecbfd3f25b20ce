"""From starting the process to its first answer: the model is in the store, compiled, and in the page cache.

    python -m benchmarks.cold_start [--quick] [--json FILE] [--only float32 default] [--folder DIR]

The stretches follow one another: importing and reading settings until the service listens, following the registry until
it begins to load, loading (read, verify, prepare, calibrate where that is due, warm up), and the first answer.

Learnt on the way: half of a start is importing, most of that PyTorch. Another second was PyTorch's compiler, which
torchvision imports for one operator of object detection, and PyTorch itself to fill tensors without memory.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import grpc

from benchmarks.harness.figures import Figure, Options, Part, in_turn, run_parts
from benchmarks.harness.load import INFER
from benchmarks.harness.making import fitted_classifier, pixels_body, publish
from benchmarks.harness.running import heads_of, open_store, serving
from maas_client.stack.processes import INFERENCE, ServiceProcess

MODEL = "flowers"
_POLL_SECONDS = 0.005


@dataclass(frozen=True)
class Start:
    """Seconds since the process was started: it listened, it began to load the model, it had it, and it answered."""

    listening: float
    loading: float
    ready: float
    answered: float


def float32(folder: Path, options: Options) -> Iterator[Figure]:
    """Served in float32."""
    yield from _figures(folder, options, precision="float32")


def default(folder: Path, options: Options) -> Iterator[Figure]:
    """Served as the settings are by default."""
    yield from _figures(folder, options)


def _figures(folder: Path, options: Options, **settings: str) -> Iterator[Figure]:
    base, calibration = fitted_classifier("resnet18")
    publish(open_store(folder), MODEL, base, calibration=calibration)
    request = bytes.fromhex(heads_of(MODEL)[0]) + pixels_body(folder / "body").read_bytes()
    with serving(folder, **settings) as served:
        served.await_openvino(f"models/{MODEL}")
    environment = {f"MAAS_INFERENCE_{name.upper()}": value for name, value in settings.items()}
    environment |= {"MAAS_HOME": str(folder), "MAAS_INFERENCE_BIND": "127.0.0.1:0"}
    starts, imports = in_turn(2 if options.quick else 10, partial(_start, folder, request, environment), _import)
    answered = [each.answered for each in starts]
    yield Figure("start to first answer, median", statistics.median(answered), "s", "<= 4")
    yield Figure("start to first answer, slowest", max(answered), "s")
    yield Figure("… until it listens", statistics.median(each.listening for each in starts), "s")
    yield Figure("… of this importing alone, without a service", statistics.median(imports), "s")
    yield Figure("… until it loads", statistics.median(each.loading - each.listening for each in starts), "s")
    yield Figure("… loading", statistics.median(each.ready - each.loading for each in starts), "s")
    yield Figure("… first answer", statistics.median(each.answered - each.ready for each in starts), "s")


def _start(folder: Path, request: bytes, environment: dict[str, str]) -> Start:
    """Start the service, ask until it answers, and stop it."""
    started, address_file = time.time(), folder / "run/inference_service.address"
    service = ServiceProcess(INFERENCE, folder / "run", environment)
    try:
        while not address_file.exists():
            time.sleep(_POLL_SECONDS)
        _await_answer(service.address, request)
        answered = time.time() - started
    finally:
        service.stop()
    events = _events(service.log_file)
    service.log_file.unlink()
    listening, ready = (events[name][0] - started for name in ("listening", "version_ready"))
    return Start(listening, ready - events["version_ready"][1]["load_seconds"], ready, answered)


def _await_answer(address: str, request: bytes) -> None:
    with grpc.insecure_channel(address) as channel:
        call: Any = channel.unary_unary(INFER)
        while True:
            try:
                call(request, timeout=30, wait_for_ready=True)
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
                time.sleep(_POLL_SECONDS)  # it listens before it has loaded
            else:
                return


def _events(log_file: Path) -> dict[str, tuple[float, dict[str, float]]]:
    """Return each event of a log by name: when, in seconds since the epoch, and its values."""
    lines = log_file.read_text().splitlines()
    events = [json.loads(line) for line in lines if line.startswith("{")]
    return {each["event"]: (datetime.fromisoformat(each["timestamp"]).timestamp(), each) for each in events}


def _import() -> float:
    """Return how long Python takes to start and to import what the service is made of."""
    started = time.perf_counter()
    work = "import os, inference_service.__main__; os._exit(0)"  # what Python does at its end is no part of a start
    subprocess.run([sys.executable, "-c", work], check=True)
    return time.perf_counter() - started


PARTS: dict[str, Part] = {part.__name__: part for part in (float32, default)}

if __name__ == "__main__":
    run_parts("cold start", __doc__ or "", PARTS)
