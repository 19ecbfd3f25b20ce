"""A table with a column of text: what a text encoder reads of it, beside the same table without it.

ISLP's Auto is real: a car's name, such as "chevrolet chevelle malibu", beside its weight, power and year; the miles per
gallon are to be predicted.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import distribution
from pathlib import Path
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness.figures import Figure, Options
from benchmarks.harness.training import Training, training
from benchmarks.modality_parts.text import MINILM
from maas_client.transfers.publish import publish_base
from model_store.bases.catalogue import load_base

NUM_FOLDS = 5
_VALIDATION = 5  # every fifth of the other rows chooses
_TARGET, _TEXT = "mpg", "name"


def text_tables(folder: Path, options: Options) -> Iterator[Figure]:
    """Fine-tune on each fold's training rows with the name and without, by the service's default, and compare."""
    rows = _rows()
    folds = np.random.default_rng(0).permutation(len(rows)) % NUM_FOLDS
    without, beside = [], []
    with training(folder) as service:
        publish_base(service.client, "minilm", load_base(*MINILM))
        for fold in range(1 if options.quick else NUM_FOLDS):
            file = folder / f"auto-{fold}.csv"
            file.write_bytes(_table(rows, folds == fold))
            service.client.upload_dataset(
                f"auto-{fold}", file, modality="table", task="regression", columns={_TARGET: "target", _TEXT: "text"}
            )
            without.append(_r2(service, fold, ""))
            beside.append(_r2(service, fold, "models/minilm"))
    gain = np.array(beside) - np.array(without)
    yield Figure("Auto, R2 of miles per gallon without the cars' names", fmean(without), "")
    yield Figure("Auto, R2 with the names read by MiniLM", fmean(beside), "")
    error = float(gain.std(ddof=1) / np.sqrt(len(gain))) if len(gain) > 1 else 0.0
    yield Figure("Auto, gain of R2 by the names, plus two standard errors", float(gain.mean()) + 2 * error, "", ">= 0")


def _r2(service: Training, fold: int, text_base: str) -> float:
    model = f"{'text' if text_base else 'plain'}-{fold}"
    job = service.client.finetune(model, dataset=f"auto-{fold}", text_base=text_base)
    return float(service.ended(job.name).check().job.metrics.values["r2"])


def _rows() -> list[dict[str, str]]:
    file = Path(str(distribution("ISLP").locate_file("ISLP/data/Auto.csv")))
    return [row for row in csv.DictReader(io.StringIO(file.read_text())) if row["horsepower"] != "?"]


def _table(rows: Sequence[Mapping[str, str]], test: NDArray[np.bool_]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([*rows[0], "split"])
    for number, (row, is_test) in enumerate(zip(rows, test, strict=True)):
        split = "test" if is_test else ("validation" if number % _VALIDATION == 0 else "train")
        writer.writerow([*row.values(), split])
    return text.getvalue().encode()
