"""Versions with the service's default options: accuracy, and what their temperature does to test rows.

The service is the real one, asked over gRPC: it chooses the recipe, the fit and the temperature. Each seed assigns the
splits anew. Logits of the test rows are computed in this process, as for a report.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from maas.training.v1 import training_pb2 as pb

from benchmarks.harness.figures import Figure, Options
from benchmarks.harness.pictures import digits, stamps
from benchmarks.harness.training import Training, pretrained, training
from maas_client.transfers.publish import publish_base
from model_store.names import parse_version
from model_store.registry.datasets import DatasetStore
from model_store.registry.models import ModelStore
from training_service.evaluation.evaluator import build_evaluator
from training_service.settings import TrainingSettings
from training_service.tasks.classification.metrics import confidence, cross_entropy, softmax
from training_service.tasks.training_task import Answers

_DIGITS_EACH = 30
_LEAST_STAMPS_ACCURACY = 0.87


@dataclass(frozen=True)
class Run:
    """One seed: the fit that was chosen, and the answers for the test rows; their task has the temperature."""

    fit: str
    answers: Answers

    @property
    def accuracy(self) -> float:
        """The share of test rows that are right."""
        return float((self.answers.outputs.argmax(axis=1) == self.answers.targets).mean())

    def log_loss(self, temperature: float) -> float:
        """The log loss of the test rows, in nats."""
        return cross_entropy(self.answers.outputs / temperature, self.answers.targets)

    def error(self, temperature: float) -> float:
        """Their expected calibration error."""
        return confidence(softmax(self.answers.outputs / temperature), self.answers.targets).error


def defaults(folder: Path, options: Options) -> Iterator[Figure]:
    """Stamps and 300 handwritten digits, the mean of five seeds each."""
    seeds = range(1 if options.quick else 5)
    photos = {"stamps": stamps(folder / "stamps"), "digits": digits(folder / "digits", num_each=_DIGITS_EACH)}
    for name, data in photos.items():
        with training(folder / f"{name}-home") as service:
            publish_base(service.client, "base", pretrained())
            runs = [_run(service, folder / f"{name}-home", data, seed) for seed in seeds]
        yield from _figures(
            name, runs, f">= {_LEAST_STAMPS_ACCURACY}" if name == "stamps" and not options.quick else ""
        )


def _run(service: Training, home: Path, photos: Path, seed: int) -> Run:
    dataset = f"photos-{seed}"
    service.client.upload_dataset(dataset, photos, split=pb.SplitSpec(seed=seed))
    job = service.job(dataset, pb.Recipe(), seed=seed).check().job
    name, settings = parse_version(job.version, "version"), TrainingSettings(home=home, device="cpu")
    with closing(settings.open_database()) as database, ThreadPoolExecutor(1) as threads:
        store = ModelStore(database, settings.open_blobs())
        evaluator = build_evaluator(settings, store, DatasetStore(database, store.blobs), threads)
        evaluated = evaluator.evaluate(name, dataset, "test", on_progress=lambda *_: None, check_going_on=lambda: None)
        fit = str(store.manifest(store.get_version(name)).input_spec["fit"])
    return Run(fit, evaluated.evaluation.answers)


def _figures(name: str, runs: list[Run], bar: str) -> Iterator[Figure]:
    yield Figure(
        f"{name}, default options: mean test accuracy of {len(runs)} seeds",
        _mean([each.accuracy for each in runs]),
        "",
        bar,
    )
    for fit, count in sorted(Counter(run.fit for run in runs).items()):
        yield Figure(f"{name}: jobs that chose {fit}", count, "")
    temperatures = [run.answers.task.temperature for run in runs]
    scaled = list(zip(runs, temperatures, strict=True))
    yield Figure(f"{name}: jobs that kept a temperature", sum(each != 1 for each in temperatures), "")
    pairs = {
        "log loss": ([run.log_loss(1.0) for run in runs], [run.log_loss(each) for run, each in scaled]),
        "calibration error": ([run.error(1.0) for run in runs], [run.error(each) for run, each in scaled]),
    }
    for what, (before, after) in pairs.items():
        yield Figure(f"{name}: test {what} before scaling", _mean(before), "")
        yield Figure(f"{name}: test {what} after scaling", _mean(after), "")
        yield Figure(f"{name}: test {what}, after - before", _mean(after) - _mean(before), "", "<= 0")


def _mean(values: list[float]) -> float:
    return statistics.fmean(values)
