"""Fine-tuning by the service against the bare PyTorch loop of a tutorial, and what a job survives.

    python -m benchmarks.finetune [--quick] [--json FILE] [--only probe accuracy …] [--folder DIR]

The service is the real one, asked over gRPC. The bare loop (`baselines/plain.py`) has a process of its own, the same
pictures in the same splits, and its time is that of its epochs alone: what Python and its imports take is counted
against the service only. Both train and validate in every epoch. What is compared is measured in turn, and ratios are
those within a round.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maas.training.v1 import training_pb2 as pb

from benchmarks.calibration import calibration
from benchmarks.defaults import defaults
from benchmarks.harness.figures import Figure, Options, Part, in_turn, median_ratio, run_parts
from benchmarks.harness.kills import kills, runners
from benchmarks.harness.pictures import noisy, stamps
from benchmarks.harness.training import (
    Plain,
    Training,
    export,
    of_edge,
    peak_memory,
    pretrained,
    run_plain,
    save_backbone,
    small,
    training,
)
from maas_client.transfers.publish import publish_base
from model_store.bases.catalogue import LoadedBase, load_random

NUM_PLAIN_EPOCHS = 10
_BAR_POINTS = 3.0
_EDGE, _QUICK_EDGE = 224, 96
_QUICK_EPOCHS = 1


@dataclass(frozen=True)
class Bench:
    """A service with the base `base` and photos to fine-tune it on; the bare loop starts from the same weights."""

    service: Training
    photos: Path
    folder: Path
    architecture: str
    weights: Path
    edge: int
    quick: bool

    def upload(self, seed: int) -> str:
        """Upload the photos, dealt anew for each seed: nothing of an earlier dataset can be used again."""
        split = pb.SplitSpec(seed=seed)
        return self.service.client.upload_dataset(f"photos-{seed}", self.photos, split=split).name

    def plain(self, seed: int, num_epochs: int) -> Plain:
        """Run the bare loop on a dataset that was uploaded."""
        folder = self.folder / f"photos-{seed}"
        if not folder.exists():
            export(self.service.client, f"photos-{seed}", self.photos, folder)
        return run_plain(folder, self.architecture, num_epochs, weights=self.weights, edge=self.edge, seed=seed)

    def accuracy(self, seed: int, recipe: str) -> float:
        """Return the test accuracy of a recipe, in percent; without a name, of the service's choice.

        All is at its default but for the epochs of a quick run.
        """
        epochs = {"epoch_count": _QUICK_EPOCHS} if self.quick else {}
        job = self.service.job(f"photos-{seed}", _recipe(recipe, **epochs), seed=seed)
        return 100 * job.accuracy


def probe(folder: Path, options: Options) -> Iterator[Figure]:
    """A linear probe, from the upload to the registered version, against ten epochs of the bare loop."""
    num_epochs, num_seeds = (1, 1) if options.quick else (NUM_PLAIN_EPOCHS, 3)
    with _bench(folder, pretrained(), options) as bench:
        seconds, accuracies, shares = zip(*(_probe(bench, seed) for seed in range(num_seeds)), strict=True)
        plain = bench.plain(0, num_epochs)
    plain_seconds = sum(plain.epoch_seconds) / num_epochs * NUM_PLAIN_EPOCHS
    yield Figure("linear_probe, upload to version, median", statistics.median(seconds), "s")
    told = f", from {num_epochs}" if options.quick else ""
    yield Figure(f"bare loop, {NUM_PLAIN_EPOCHS} epochs{told}", plain_seconds, "s")
    yield Figure("linear_probe / bare loop: time", statistics.median(seconds) / plain_seconds, "x", "<= 0.125")
    yield Figure("linear_probe of a new dataset: bytes added / its base", 100 * max(shares), "%", "<= 1")
    yield Figure("linear_probe, test accuracy", accuracies[0], "%")
    yield Figure(f"bare loop, {num_epochs} epochs, test accuracy", 100 * plain.test_accuracy, "%")
    yield Figure("linear_probe beyond bare loop: accuracy", accuracies[0] - 100 * plain.test_accuracy, "points", ">= 0")


def _probe(bench: Bench, seed: int) -> tuple[float, float, float]:
    """Return the seconds from the first byte of the upload to the version, its test accuracy in percent, and its bytes.

    Those that it adds to the store, as a share of its base's.
    """
    start = time.perf_counter()
    bench.upload(seed)
    job = bench.service.job(f"photos-{seed}", pb.Recipe(linear_probe={}), seed=seed)
    seconds, accuracy = time.perf_counter() - start, 100 * job.accuracy
    version, base = (bench.service.client.version(name) for name in (job.job.version, job.job.base))
    return seconds, accuracy, version.added_bytes / sum(stage.size_bytes for stage in base.stages)


def accuracy(folder: Path, options: Options) -> Iterator[Figure]:
    """The recipes with their defaults against the bare loop, each seed with splits of its own."""
    seeds, num_epochs = (range(1), _QUICK_EPOCHS) if options.quick else (range(5), NUM_PLAIN_EPOCHS)
    with _bench(folder, pretrained(), options) as bench:
        for seed in seeds:
            bench.upload(seed)
        reached = {
            name or "service's choice": [bench.accuracy(seed, name) for seed in seeds]
            for name in (("", "last_stages") if options.quick else ("", "last_stages", "full", "gradual"))
        }
        plain = [100 * bench.plain(seed, num_epochs).test_accuracy for seed in seeds]
    yield Figure(f"bare loop, {num_epochs} epochs: mean test accuracy", statistics.mean(plain), "%")
    for name, values in reached.items():
        yield Figure(f"{name}: mean test accuracy", statistics.mean(values), "%")
    chosen = statistics.mean(reached["service's choice"])
    yield Figure("service's choice beyond bare loop", chosen - statistics.mean(plain), "points", f">= {_BAR_POINTS}")
    best = max(statistics.mean(values) for values in reached.values())
    yield Figure("best recipe beyond bare loop", best - statistics.mean(plain), "points", f">= {_BAR_POINTS}")


def classic_rate(folder: Path, options: Options) -> Iterator[Figure]:
    """ResNet-18 by the recipe that does as the bare loop does."""
    yield from _rate(folder, options, load_random("resnet18", seed=0), "classic", 1.0)


def full_rate(folder: Path, options: Options) -> Iterator[Figure]:
    """All layers by our own defaults."""
    yield from _rate(folder, options, pretrained(), "full", 1.6)


def _rate(folder: Path, options: Options, base: LoadedBase, recipe: str, bar: float) -> Iterator[Figure]:
    num_rounds, num_epochs = (1, 1) if options.quick else (3, 3)
    asked = _recipe(recipe, epoch_count=num_epochs)
    with _bench(folder, base, options) as bench:
        bench.upload(0)
        jobs, loops = in_turn(
            num_rounds,
            lambda: bench.service.job("photos-0", asked).check().epoch_seconds(),
            lambda: bench.plain(0, num_epochs),
        )
    ours = [loops[0].num_images / statistics.median(seconds) for seconds in jobs]
    plain = [each.num_images / statistics.median(each.epoch_seconds) for each in loops]
    name = base.architecture
    yield Figure(f"{name}, {recipe}: images trained on a second, validation included", statistics.median(ours), "/s")
    yield Figure(f"{name}, bare loop: the same", statistics.median(plain), "/s")
    yield Figure(f"{name}, {recipe} / bare loop: images a second", median_ratio(ours, plain), "x", f">= {bar}")


def _recipe(name: str, **values: int) -> pb.Recipe:
    """Return a recipe with these hyperparameters; without a name, what leaves the choice to the service."""
    asked: dict[str, Any] = {name: values} if name else {}
    return pb.Recipe(**asked)


def epochs(folder: Path, options: Options) -> Iterator[Figure]:
    """Photos that cost more to decode than to train on: what the second epoch, and the second job, do not pay again."""
    num_photos = 150 if options.quick else 5000
    photos = noisy(folder / "photos", num_photos, 500)
    asked = pb.Recipe(classic={"epoch_count": 2})
    with training(folder / "home") as service:
        publish_base(service.client, "base", small("squeezenet1_1", 32))
        service.client.upload_dataset("photos", photos)
        first, second = (service.job("photos", asked).check() for _ in range(2))
    (first_end, end), (again_end, _) = first.epoch_ends(), second.epoch_ends()
    begun, begun_again = first.begun(pb.PHASE_DECODING), second.job.start_time.ToNanoseconds() / 1e9
    yield Figure(f"{num_photos} JPEGs of 500 px, epoch 1 with decoding", first_end - begun, "s")
    yield Figure("epoch 2 / epoch 1", (end - first_end) / (first_end - begun), "x", "<= 0.5")
    yield Figure("second job, from its start to the end of epoch 1", again_end - begun_again, "s")
    yield Figure("first job, the same", first_end - first.job.start_time.ToNanoseconds() / 1e9, "s")


def memory(folder: Path, options: Options) -> Iterator[Figure]:
    """The memory that a worker holds, of its own and shared, for datasets of two sizes; mapped files are not held."""
    sizes = (150, 600) if options.quick else (2000, 20000)
    recipes = (pb.Recipe(linear_probe={}), pb.Recipe(full={"epoch_count": 1}))
    held = [_memory(folder / f"{size}", size, recipes) for size in sizes]
    for recipe, *peaks in zip(recipes, *held, strict=True):
        name = recipe.WhichOneof("recipe")
        for size, peak in zip(sizes, peaks, strict=True):
            yield Figure(f"{name} on {size:,} images: peak", peak / 1e6, "MB")
        yield Figure(f"{name}: {sizes[1]:,} / {sizes[0]:,} images", peaks[1] / peaks[0], "x", "<= 1.3")


def _memory(folder: Path, num_images: int, recipes: Sequence[pb.Recipe]) -> list[float]:
    """Return the most bytes that the worker held in a job of each recipe."""
    photos, peaks = noisy(folder / "photos", num_images, 64), []
    with training(folder / "home") as service:
        publish_base(service.client, "base", small("squeezenet1_1", 64))
        service.client.upload_dataset("photos", photos)
        for recipe in recipes:
            with peak_memory(service.service.pid) as peak:
                service.job("photos", recipe).check()
            peaks.append(float(peak.num_bytes))
    return peaks


@contextmanager
def _bench(folder: Path, base: LoadedBase, options: Options) -> Iterator[Bench]:
    """Run a service; a quick run is on smaller images, which the bare loop gets as well."""
    edge = _QUICK_EDGE if options.quick else _EDGE
    base, photos = of_edge(base, edge, edge * 8 // 7), stamps(folder / "photos")
    weights = save_backbone(base, folder / "backbone.safetensors")
    with training(folder / "home") as service:
        publish_base(service.client, "base", base)
        yield Bench(service, photos, folder / "splits", base.architecture, weights, edge, options.quick)


PARTS: dict[str, Part] = {
    part.__name__: part
    for part in (probe, accuracy, defaults, calibration, classic_rate, full_rate, epochs, memory, kills, runners)
}

if __name__ == "__main__":
    run_parts("fine-tuning", __doc__ or "", PARTS)
