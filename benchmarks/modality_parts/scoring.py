"""A million rows of a CSV file scored by one command, beside scikit-learn on the loaded array.

Not measured in this form yet. With 100,000 rows, on 2 cores that other work shared: 4.4 times scikit-learn's time (the
median of three in turn, 4.2 to 5.9), the start of the command included.
"""

from __future__ import annotations

import csv
import statistics
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import make_classification
from sklearn.ensemble import HistGradientBoostingClassifier

from benchmarks.harness.figures import Figure, Options, in_turn
from grpc_runtime.child_process import command_of
from maas_client.client import Client
from maas_client.stack.processes import Stack

NUM_COLUMNS, NUM_TRAINED = 20, 5000
_CHOSEN: Mapping[str, Any] = {"tree_count": 100, "tree_learning_rate": 0.1, "leaf_count": 31}


def scoring(folder: Path, options: Options) -> Iterator[Figure]:
    """Boosted trees of scikit-learn's default size, through the service's command and in scikit-learn."""
    num_rows, num_rounds = (50_000, 1) if options.quick else (1_000_000, 3)
    features, labels = make_classification(num_rows + NUM_TRAINED, NUM_COLUMNS, n_informative=8, random_state=0)
    features = features.astype(np.float32)
    source = _table(folder / "rows.csv", features[NUM_TRAINED:])
    with Stack(folder / "home", free_ports=True, environment={"MAAS_INFERENCE_PRECISION": "float32"}) as stack:
        stack.start()
        with Client(stack.await_serving()) as client:
            version = _published(client, folder, features[:NUM_TRAINED], labels[:NUM_TRAINED])
            settings = client.settings
            environment = {
                "MAAS_INFERENCE_ADDRESS": settings.inference_address,
                "MAAS_TRAINING_ADDRESS": settings.training_address,
            }
            model = HistGradientBoostingClassifier(early_stopping=False, random_state=0)
            model.fit(features[:NUM_TRAINED], labels[:NUM_TRAINED])
            ours, theirs = in_turn(
                num_rounds,
                lambda: _command(version, source, folder / "scores.csv", environment),
                lambda: _plain(model, features[NUM_TRAINED:]),
            )
        yield Figure(f"{num_rows:,} rows by one command", statistics.median(ours), "s")
        yield Figure("the same by scikit-learn's predict_proba on the array", statistics.median(theirs), "s")
        ratio = statistics.median(own / plain for own, plain in zip(ours, theirs, strict=True))
        yield Figure("command / scikit-learn", ratio, "x", "<= 5")


def _published(client: Client, folder: Path, features: NDArray[np.float32], labels: NDArray[np.int64]) -> str:
    """Fit trees on a few rows, and return the version once it is served."""
    path = folder / "train.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*(f"c{number}" for number in range(NUM_COLUMNS)), "label"])
        writer.writerows([*row, label] for row, label in zip(features.tolist(), labels.tolist(), strict=True))
    client.upload_dataset("trees", path)
    base = client.import_base("rows", "rows", widths=[NUM_COLUMNS]).name
    job = client.wait(client.finetune("trees", base=base, dataset="trees", head="gradient_boosting", **_CHOSEN).name)
    client.wait_ready(job.version)
    return job.version


def _table(path: Path, features: NDArray[np.float32]) -> Path:
    with path.open("w") as file:
        file.write(",".join(f"c{number}" for number in range(NUM_COLUMNS)) + "\n")
        np.savetxt(file, features, "%.6g", delimiter=",")
    return path


def _command(version: str, source: Path, output: Path, environment: dict[str, str]) -> float:
    """Return the seconds of the whole command."""
    output.unlink(missing_ok=True)
    started = time.perf_counter()
    command = [*command_of("maas_client"), "predict", version, str(source), "--output", str(output)]
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def _plain(model: HistGradientBoostingClassifier, features: NDArray[np.float32]) -> float:
    started = time.perf_counter()
    model.predict_proba(features)
    return time.perf_counter() - started
