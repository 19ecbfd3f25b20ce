"""A large table through the whole service: seconds and peak memory of upload, boosting and prediction, by rows.

On 2 cores that other work shared, with 1,000,000 rows beside 100,000: upload 523 MiB beside 416 (1.26 times),
prediction 328 beside 327, the command 80 beside 79; boosting takes 2.6 GiB, the most of all.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.harness.figures import Figure, Options
from benchmarks.harness.training import peak_memory
from grpc_runtime.child_process import command_of
from maas_client.client import Client
from maas_client.stack.processes import INFERENCE, TRAINING, Stack

NUM_COLUMNS, NUM_CATEGORICAL = 50, 5
_BLOCK = 20_000
_GIB = 2**30


@dataclass
class _Run:
    """Seconds of each step, and the most memory that each process held, in bytes."""

    seconds: dict[str, float] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)


def scale(folder: Path, options: Options) -> Iterator[Figure]:
    """Ten times the rows beside the rows: memory of upload and prediction must hardly grow."""
    few, many = (2_000, 20_000) if options.quick else (100_000, 1_000_000)
    small, large = _run(folder / "few", few), _run(folder / "many", many)
    for run, num_rows in ((small, few), (large, many)):
        for step, seconds in run.seconds.items():
            yield Figure(f"{num_rows:,} rows x {NUM_COLUMNS} columns, {step}", seconds, "s")
        for process, num_bytes in run.memory.items():
            yield Figure(f"{num_rows:,} rows, peak memory of {process}", num_bytes / 2**20, "MiB")
    for process in ("upload", "prediction", "the command"):
        ratio = large.memory[process] / small.memory[process]
        yield Figure(f"{process}, memory with ten times the rows", ratio, "x", "<= 1.3")
    yield Figure("most memory of one process", max(large.memory.values()) / _GIB, "GiB", "<= 24")


def _run(folder: Path, num_rows: int) -> _Run:
    """Upload a table, fit trees, and score the table, all by services that were started for it."""
    folder.mkdir()
    source, run = _table(folder / "rows.csv", num_rows), _Run()
    with Stack(folder / "home", free_ports=True, environment={"MAAS_INFERENCE_PRECISION": "float32"}) as stack:
        stack.start()
        with Client(stack.await_serving()) as client:
            started = time.perf_counter()
            client.upload_dataset("rows", source, modality="table", columns={"label": "target"})
            run.seconds["upload"] = time.perf_counter() - started
            training, inference = stack.services[TRAINING.module], stack.services[INFERENCE.module]
            run.memory["upload"] = _peak(training.pid)
            started = time.perf_counter()
            with peak_memory(training.pid) as peak:
                version = client.wait(client.finetune("rows", dataset="rows", head="gradient_boosting").name).version
            run.seconds["boosting"] = time.perf_counter() - started
            run.memory["boosting"] = peak.num_bytes
            client.wait_ready(version)
            settings = client.settings
            environment = {
                "MAAS_INFERENCE_ADDRESS": settings.inference_address,
                "MAAS_TRAINING_ADDRESS": settings.training_address,
            }
        started = time.perf_counter()
        run.memory["the command"] = _predicted(version, source, folder / "scores.csv", environment)
        run.seconds["prediction"] = time.perf_counter() - started
        run.memory["prediction"] = _peak(inference.pid)
    source.unlink()
    return run


def _table(path: Path, num_rows: int) -> Path:
    """Write numbers, a few categories and a label that depends on both."""
    generator = np.random.default_rng(0)
    weights = generator.normal(size=NUM_COLUMNS - NUM_CATEGORICAL)
    names = [*(f"n{each}" for each in range(len(weights))), *(f"c{each}" for each in range(NUM_CATEGORICAL)), "label"]
    with path.open("w") as file:
        file.write(",".join(names) + "\n")
        for start in range(0, num_rows, _BLOCK):
            size = min(_BLOCK, num_rows - start)
            numbers = generator.normal(size=(size, len(weights)))
            groups = generator.integers(0, 20, (size, NUM_CATEGORICAL))
            labels = numbers @ weights + groups[:, 0] - 10 + generator.normal(size=size) > 0
            line = ",".join([*(["%.6g"] * len(weights)), *(["g%d"] * NUM_CATEGORICAL), "%d"])
            np.savetxt(file, np.column_stack([numbers, groups, labels]), line)
    return path


def _predicted(version: str, source: Path, output: Path, environment: Mapping[str, str]) -> int:
    """Score a table by the command; return the most memory that its process held, in bytes."""
    command = [*command_of("maas_client"), "predict", version, str(source), "--output", str(output)]
    measured = "import os, subprocess, sys; process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL);"
    measured += "_, state, usage = os.wait4(process.pid, 0); print(usage.ru_maxrss); sys.exit(state != 0)"
    done = subprocess.run([sys.executable, "-c", measured, *command], check=True, env=environment, capture_output=True)
    return int(done.stdout) * 1024


def _peak(process: int) -> int:
    """Return the most memory that a process has held, in bytes."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise LookupError(process)
