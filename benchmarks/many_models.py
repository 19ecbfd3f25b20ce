"""Hundreds of fine-tunes on one backbone: what each further one costs, in speed, in memory and in time to load.

    python -m benchmarks.many_models [--quick] [--json FILE] [--only spread memory loading] [--folder DIR]

All are linear probes of one MobileNetV2. Rows are pixels of the model's own size, so nothing is decoded.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

from benchmarks.harness.figures import Figure, Options, Part, in_turn, median_ratio, percentile, run_parts
from benchmarks.harness.load import Result
from benchmarks.harness.making import Probes, classifier, pixels_body
from benchmarks.harness.running import Served, open_store, serving
from model_store.architectures import HEAD
from model_store.bases.catalogue import LoadedBase

ARCHITECTURE = "mobilenet_v2"
IN_FLIGHT = 32
_LOAD_EVERY_SECONDS = 0.2


def spread(folder: Path, options: Options) -> Iterator[Figure]:
    """The same traffic spread evenly over all models, and all of it on one."""
    models, _ = _publish_probes(folder, _num_models(options))
    rounds, seconds = (1, 2.0) if options.quick else (3, 4.0)
    body = pixels_body(folder / "body")
    with serving(folder) as served:
        served.await_openvino(f"models/{models[-1]}")
        many, one = in_turn(
            rounds,
            lambda: served.load(*models, body=body, seconds=seconds, in_flight=IN_FLIGHT),
            lambda: served.load(models[0], body=body, seconds=seconds, in_flight=IN_FLIGHT),
        )
    rates, bases = [each.rate for each in many], [each.rate for each in one]
    name = f"{len(models)} models, {IN_FLIGHT} in flight"
    yield Figure(f"{name}: spread evenly", statistics.median(rates), "/s")
    yield Figure(f"{name}: all on one", statistics.median(bases), "/s")
    yield Figure(f"{name}: spread evenly / all on one", median_ratio(rates, bases), "x", ">= 0.9")
    yield Figure(f"{name}: errors", sum(each.num_errors for each in (*many, *one)), "", "<= 0")


def memory(folder: Path, options: Options) -> Iterator[Figure]:
    """What is resident: one backbone and the heads; and what the process takes for each further model.

    By PyTorch: OpenVINO has a copy of the backbone for each core and one more.
    """
    num_models, num_first = _num_models(options), 10
    _, probes = _publish_probes(folder, num_first)
    with serving(folder, cpu_backend="torch") as served:
        rss_bytes = served.rss_bytes
        for seed in range(num_first, num_models):
            last = probes.publish(f"probe-{seed}", seed)
        served.await_ready(str(last.name))
        growth = served.rss_bytes - rss_bytes
        resident = _resident_bytes(served)
    sizes = {name: _size_bytes(probes.base, name) for name in probes.base.chain.stage_names}
    head = sizes.pop(HEAD)
    limit = 1.05 * sum(sizes.values()) + 1.5 * num_models * head
    yield Figure(f"{num_models} models: resident", resident / 1e6, "MB")
    yield Figure(f"{num_models} models: resident / (1.05 backbones + 1.5 heads)", resident / limit, "x", "<= 1")
    yield Figure("a further model: process memory", growth / (num_models - num_first) / 1e3, "kB")
    yield Figure("a further model: process memory / its head", growth / (num_models - num_first) / head, "x")


def loading(folder: Path, options: Options) -> Iterator[Figure]:
    """One model after the other is published while others answer at half of what the service can do."""
    rounds, seconds = (1, 2.0) if options.quick else (9, 5.0)
    models, probes = _publish_probes(folder, _num_models(options))
    body = pixels_body(folder / "body")
    load_seconds: list[float] = []
    with serving(folder) as served, ThreadPoolExecutor(1) as clients:
        served.await_openvino(f"models/{models[-1]}")
        capacity = served.load(*models, body=body, seconds=seconds, in_flight=IN_FLIGHT).rate

        def quiet() -> Result:
            return served.load(*models, body=body, seconds=seconds, rate=capacity / 2)

        def disturbed() -> Result:
            result = clients.submit(quiet)
            while not result.done():
                number = len(models) + len(load_seconds)
                version = probes.publish(f"probe-{number}", number)
                load_seconds.append(served.await_ready(str(version.name)).load_duration.ToNanoseconds() / 1e9)
                wait([result], _LOAD_EVERY_SECONDS)
            return result.result()

        calm, busy = in_turn(rounds, quiet, disturbed)
    p99_ms = percentile(load_seconds, 0.99) * 1000
    yield Figure(f"{len(load_seconds)} loads of one more probe, p50", statistics.median(load_seconds) * 1000, "ms")
    yield Figure(f"{len(load_seconds)} loads of one more probe, p99", p99_ms, "ms", "<= 30")
    ratio = median_ratio([each.p99_ms for each in busy], [each.p99_ms for each in calm])
    yield Figure("others at half load, p99", statistics.median(each.p99_ms for each in calm), "ms")
    yield Figure("others at half load: p99 while loading / without", ratio, "x", "<= 1.3")
    yield Figure("others at half load: errors", sum(each.num_errors for each in (*calm, *busy)), "", "<= 0")


def _num_models(options: Options) -> int:
    return 50 if options.quick else 500


def _publish_probes(folder: Path, count: int) -> tuple[list[str], Probes]:
    """Publish so many models; return their ids, and what publishes more."""
    probes = Probes(open_store(folder), classifier(ARCHITECTURE))
    models = [f"probe-{seed}" for seed in range(count)]
    for seed, model in enumerate(models):
        probes.publish(model, seed)
    return models, probes


def _resident_bytes(served: Served) -> int:
    """Return the bytes of all loaded stages; what models share is of one backbone, so it counts once."""
    reports = [report for state in served.states() for report in state.versions]
    shared = max(each.shared_bytes for each in reports)
    return shared + sum(each.resident_bytes - each.shared_bytes for each in reports)


def _size_bytes(base: LoadedBase, stage: str) -> int:
    return sum(tensor.nbytes for tensor in base.chain.stage_tensors(stage).values())


PARTS: dict[str, Part] = {part.__name__: part for part in (spread, memory, loading)}

if __name__ == "__main__":
    run_parts("many models", __doc__ or "", PARTS)
