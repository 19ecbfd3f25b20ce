"""The service against the limit: the same work in process, a bare gRPC server, and plain PyTorch.

    python -m benchmarks.serving [--quick] [--json FILE] [--only resnet mlp …] [--folder DIR]

Requests are single rows of ModelInfer over one connection. The client is another process on the same cores, so its work
counts against the service, and what is compared with is alone on the machine. All that is compared is measured in turn,
round by round, and ratios are those within a round.

Learnt on the way, on 2 cores with AMX, and of late on 2 with AVX-512 BF16, which run a third of the rows in bfloat16:

- Answers come in bursts, one a batch: a window of fixed length counts a burst more or less, up to a tenth of the rate.
  It has to begin and end with a burst.
- In float32 batches of 8 run as many rows a second as batches of 32, or more; in bfloat16 from 8 rows on all are equal.
- Threads of one operation wait for the slowest of them, dozens of times a batch. With rows shared among the cores
  (`row_threads.py`) ResNet-18 in bfloat16 with AMX runs 370 to 450 rows a second in process; what serves float32 rows
  of 600 kB then copies as much as it computes: 230 to 275.
- Where a core idles now, a thread waits for Python's lock: 2 to 5 %, by what the event loop has to do meanwhile; with
  AMX, where an operation is done in a millisecond, 12 %. A switch interval of a tenth of one makes 8 % of that, and
  the slowest loads of a probe half as long again: the thread that loads is interrupted as often.
- gRPC's older way to poll (`GRPC_EXPERIMENTS=-event_engine_listener,-event_engine_client`) answers a tenth more of a
  small network's requests, each 0.2 ms sooner, where waking a thread on another core is dear; it is on its way out.
- Early stages in smaller shares than late ones, whose weights are large, gain a twentieth at most.
- A small network that took the device's thread once, for one slow batch, was promised slowly ever after and stayed
  there: 3,400 requests a second instead of 4,500, and 1.5 ms for one alone instead of 1.2.
- An untrained network is served in float32 whatever the settings: its scores all but tie, so lower precision changes
  labels. Hence a head that is fitted, and statistics of its BatchNorms that are measured.

Each mechanism of the batcher was switched off alone, in turn with all on, in one service on 2 cores without AMX:
medians of 4 to 6 rounds, of 1 or 2 where marked *. Figures are without / with the mechanism: rows a second, answers in
time under a flood, or milliseconds; float32 and bfloat16 are ResNet-18's.

| mechanism | without / with | |
|---|---|---|
| a second batch beside the first | bfloat16 0.85, float32 0.92 | kept |
| rounds of the event loop before a batch is formed, 40 | small MLP 0.43*; 3 rounds instead 0.51* | kept |
| short batches on the event loop | small MLP alone, ms 1.19* | kept |
| half of what waits, where that takes long | flood 0.61, with the next line off too; 32 in flight 1.05 to 1.09 | kept |
| a least batch that deadlines must allow, a line `fixed + each * cost` | each 0.96 to 1.01, both 0.6 to 1.0 | kept |
| a margin for deadlines | flood in float32 0.85, with 1.2 0.91, with 1.5 1.00 | kept: 1.5, fixed |
| calls refused unread under a flood | pixels 0.94, float32 rows of 600 kB 0.82* | kept |
| doubting predictions that let nothing run | none: without it a service may refuse for ever | kept |
| the margin learnt of late batches, and of one that is late still | flood 1.00 and 1.03 | removed |
| time for the answer's way before a deadline | flood 1.03 | removed |
| an eighth of a batch's limit, for a second batch | bfloat16 0.98 | removed |
| memory kept for the rows of a batch | joining 16 rows of 600 kB 0.71 / 0.69 ms | removed |
| small heads as one multiplication | spread over 50 probes 1.01*; 32 heads 1.7 / 0.9 ms of 100 ms | removed |
| a batch a core, not shares of each batch; four ways | float32 0.91 to 0.98, MobileNetV2 0.74 to 1.0 | not taken |
| a compiled stage with a stream a core, not a copy | MobileNetV2 0.84, ResNet-18 0.83 | not taken |
| a number of products from which on rows of numbers are shared among the cores | small MLP 1.14* | removed |
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from maas.open_inference.v2 import open_inference_pb2 as pb
from maas.open_inference.v2 import open_inference_pb2_grpc

from benchmarks.harness.echo import echoing
from benchmarks.harness.figures import Figure, Options, Part, in_turn, median_ratio, run_parts
from benchmarks.harness.in_process import eager, in_process, prepared, prepared_photos
from benchmarks.harness.load import Plan, Result, load
from benchmarks.harness.making import (
    NUM_LABELS,
    body_of,
    classifier,
    fitted_classifier,
    floats_body,
    photo,
    pixels_body,
    publish,
)
from benchmarks.harness.running import Served, heads_of, open_store, serving
from model_store.bases.tabular import load_random_mlp

IN_FLIGHT = 32
DEADLINE_SECONDS = 0.5


def resnet(folder: Path, options: Options) -> Iterator[Figure]:
    """ResNet-18 of ready float32 rows, 32 in flight: against its own stages and plain PyTorch in process."""
    body = _resnet_store(folder)
    rounds, seconds = _times(options)
    with (
        serving(folder, precision="float32") as float32,
        serving(folder) as auto,
        in_process(prepared, folder, "resnet", "float32") as limit,
        in_process(prepared, folder, "resnet", "auto") as auto_limit,
        in_process(eager, "resnet18") as plain,
    ):
        float32.await_openvino("models/resnet")
        auto.await_openvino("models/resnet")
        chosen = auto.precision("models/resnet/versions/1").lower()
        batches = [each.best_batch(_seconds_to_choose(options)) for each in (limit, auto_limit, plain)]
        rates = in_turn(
            rounds,
            lambda: float32.load("resnet", body=body, seconds=seconds, in_flight=IN_FLIGHT).rate,
            partial(limit.rate, batches[0], seconds),
            lambda: auto.load("resnet", body=body, seconds=seconds, in_flight=IN_FLIGHT).rate,
            partial(auto_limit.rate, batches[1], seconds),
            partial(plain.rate, batches[2], seconds),
        )
    names = (
        f"resnet18 float32, {IN_FLIGHT} in flight",
        f"its stages in process, batches of {batches[0]}",
        f"resnet18 auto ({chosen}), {IN_FLIGHT} in flight",
        f"its stages in process, batches of {batches[1]}",
        f"plain PyTorch in process, batches of {batches[2]}",
    )
    for name, values in zip(names, rates, strict=True):
        yield Figure(name, statistics.median(values), "/s")
    ours, theirs, autos, autos_limit, plains = rates
    yield Figure("resnet18 float32: served / its stages in process", median_ratio(ours, theirs), "x", ">= 0.93")
    yield Figure("resnet18 auto: served / its stages in process", median_ratio(autos, autos_limit), "x")
    yield Figure("resnet18 float32: served / plain PyTorch", median_ratio(ours, plains), "x", ">= 1.3")
    yield Figure("resnet18 auto: served / plain PyTorch", median_ratio(autos, plains), "x", ">= 2.3")


def mobilenet(folder: Path, options: Options) -> Iterator[Figure]:
    """MobileNetV2 of ready float32 rows, by the backend of the settings against PyTorch."""
    yield from _by_backend(folder, options, "mobilenet_v2")


def efficientnet(folder: Path, options: Options) -> Iterator[Figure]:
    """EfficientNet-B0 of ready float32 rows, by the backend of the settings against PyTorch."""
    yield from _by_backend(folder, options, "efficientnet_b0")


def _by_backend(folder: Path, options: Options, architecture: str) -> Iterator[Figure]:
    base, calibration = fitted_classifier(architecture)
    publish(open_store(folder), "network", base, calibration=calibration)
    body = _file(folder / "body", floats_body(3, 224, 224))
    rounds, seconds = _times(options)
    with serving(folder) as auto, serving(folder, cpu_backend="torch") as torch:
        auto.await_openvino("models/network")
        ours, theirs, ours_ms, theirs_ms = in_turn(
            rounds,
            lambda: auto.load("network", body=body, seconds=seconds, in_flight=IN_FLIGHT).rate,
            lambda: torch.load("network", body=body, seconds=seconds, in_flight=IN_FLIGHT).rate,
            lambda: auto.load("network", body=body, seconds=seconds, in_flight=1).p50_ms,
            lambda: torch.load("network", body=body, seconds=seconds, in_flight=1).p50_ms,
        )
    yield Figure(f"{architecture} auto, {IN_FLIGHT} in flight", statistics.median(ours), "/s")
    yield Figure(f"{architecture}, PyTorch, {IN_FLIGHT} in flight", statistics.median(theirs), "/s")
    yield Figure(f"{architecture}: auto / PyTorch", median_ratio(ours, theirs), "x", ">= 1.1")
    yield Figure(f"{architecture} auto, 1 in flight, p50", statistics.median(ours_ms), "ms")
    yield Figure(f"{architecture}: p50 of 1 in flight, auto / PyTorch", median_ratio(ours_ms, theirs_ms), "x", "<= 0.8")


def alone(folder: Path, options: Options) -> Iterator[Figure]:
    """ResNet-18, one request at a time: what serving adds to the time of its stages."""
    body = _resnet_store(folder)
    rounds, seconds = _times(options)
    with serving(folder, precision="float32") as served, in_process(prepared, folder, "resnet") as limit:
        served.await_openvino("models/resnet")
        ours, theirs = in_turn(
            rounds,
            lambda: served.load("resnet", body=body, seconds=seconds, in_flight=1).p50_ms,
            lambda: limit.seconds_a_batch(1, seconds) * 1000,
        )
    yield Figure("resnet18, 1 in flight, p50", statistics.median(ours), "ms")
    added = statistics.median(mine - other for mine, other in zip(ours, theirs, strict=True))
    yield Figure("resnet18, 1 in flight: p50 beyond its stages in process", added, "ms", "<= 4")


def mlp(folder: Path, options: Options) -> Iterator[Figure]:
    """A small MLP: nearly all of the time is the service's own."""
    rounds, seconds = _times(options)
    labels = [f"label {number}" for number in range(NUM_LABELS)]
    publish(open_store(folder), "mlp", load_random_mlp([64, 256], labels, seed=0))
    body, answer = _file(folder / "body", floats_body(64)), folder / "answer"
    with serving(folder) as served:
        answer.write_bytes(_ask(served.open_stub, "mlp", body))
        with echoing(answer) as echo:
            many, bare, single = in_turn(
                rounds,
                lambda: served.load("mlp", body=body, seconds=seconds, in_flight=IN_FLIGHT),
                lambda: load(Plan(echo, str(body), heads_of("mlp"), seconds, IN_FLIGHT)),
                lambda: served.load("mlp", body=body, seconds=seconds, in_flight=1),
            )
    rates, limits = ([each.rate for each in results] for results in (many, bare))
    yield Figure(f"mlp, {IN_FLIGHT} in flight", statistics.median(rates), "/s", ">= 3000")
    yield Figure(f"a server that only echoes, {IN_FLIGHT} in flight", statistics.median(limits), "/s")
    yield Figure("mlp: served / a server that only echoes", median_ratio(rates, limits), "x")
    yield Figure("mlp, 1 in flight, p50", statistics.median(each.p50_ms for each in single), "ms", "<= 1.2")
    yield Figure("mlp, errors", sum(each.num_errors for each in (*many, *single)), "", "<= 0")


def jpeg(folder: Path, options: Options) -> Iterator[Figure]:
    """JPEG files through MobileNetV2: decoding shares the cores with the model, here and in process."""
    rounds, seconds = _times(options)
    publish(open_store(folder), "mobilenet", classifier("mobilenet_v2"))
    data = photo()
    body = _file(folder / "body", body_of("IMAGE", "BYTES", (1,), len(data).to_bytes(4, "little") + data))
    with serving(folder) as served, in_process(prepared_photos, folder, "mobilenet") as limit:
        served.await_openvino("models/mobilenet")
        batch = limit.best_batch(_seconds_to_choose(options))
        ours, theirs = in_turn(
            rounds,
            lambda: served.load("mobilenet", body=body, seconds=seconds, in_flight=IN_FLIGHT).rate,
            partial(limit.rate, batch, seconds),
        )
    yield Figure(f"mobilenet_v2 of JPEGs, {IN_FLIGHT} in flight", statistics.median(ours), "/s")
    yield Figure(f"the same in process, batches of {batch}", statistics.median(theirs), "/s")
    yield Figure("mobilenet_v2 of JPEGs: served / in process", median_ratio(ours, theirs), "x", ">= 0.85")


def overload(folder: Path, options: Options) -> Iterator[Figure]:
    """Three times the requests that ResNet-18 can answer, each with a deadline: the device runs none for nothing.

    Of pixels, 150 kB a request, in both precisions: what a refusal costs is the same, so the more a second are to be
    refused the less is left. And of float32 rows, 600 kB, where copying what is refused in the end costs a core.

    What a refusal takes of 2 cores without AMX: 0.28 ms of the service in a loop, 0.25 of it in a bare grpc.aio
    handler, and half as much again where a network has the caches; this client as much; and in one core of ten nothing
    runs, as a thread that computes waits for Python's lock. One of 150 kB costs hardly more than one of 10 bytes, since
    it is left unread (`admission_control.py`); it was three times as much. A row takes no more of its core than without
    the flood.
    So in float32, 56 to 70 a second and twice as many refused, 0.8 to 0.91 are left; in bfloat16, 100 a second, 0.82
    to 0.89; and with AMX, where 500 are refused to answer 240, 0.62 to 0.7. In int8, 157 a second, 0.53: as many are
    answered in time as in bfloat16, while half as many again are refused.

    Changed nothing: sending in clumps, windows of HTTP/2 that hold back what is not read, gRPC's older way to poll,
    lower priorities for the threads that compute, one thread more than there are cores, and a client that reads codes
    instead of catching exceptions. A client that writes HTTP/2 frames by hand takes half of this one's time: 0.75
    instead of 0.67 with AMX, and the same in float32. Stages run by TorchScript, which keeps off Python's lock between
    operations, answer a tenth more with AMX, flood or none; PyTorch has deprecated it, so they are not.
    """
    rows, pixels = _resnet_store(folder), pixels_body(folder / "pixels")
    with serving(folder) as served:
        served.await_openvino("models/resnet")
        yield from _overloaded(served, "pixels", pixels, options, bar=">= 0.9")
        if not options.quick:
            yield from _overloaded(served, "float32 rows", rows, options)
    if not options.quick:
        with serving(folder, precision="float32") as served:
            served.await_openvino("models/resnet")
            yield from _overloaded(served, "pixels, computed in float32", pixels, options, bar=">= 0.9")


def _overloaded(served: Served, what: str, body: Path, options: Options, bar: str = "") -> Iterator[Figure]:
    rounds, seconds = _times(options)
    seconds *= 2  # of float32 a batch is a quarter of a second
    capacities: list[float] = []
    floods: list[Result] = []
    num_rows = 0
    for _ in range(rounds):
        capacities.append(served.load("resnet", body=body, seconds=seconds, in_flight=IN_FLIGHT).rate)
        before, rate = served.num_rows_run("resnet"), 3 * capacities[-1]
        floods.append(served.load("resnet", body=body, seconds=seconds, rate=rate, deadline_seconds=DEADLINE_SECONDS))
        num_rows += served.num_rows_run("resnet") - before
    good = [each.rate for each in floods]
    in_vain = num_rows - sum(each.num_answered for each in floods)
    yield Figure(f"3 x overload of {what}: capacity", statistics.median(capacities), "/s")
    yield Figure(f"3 x overload of {what}: answered in time / capacity", median_ratio(good, capacities), "x", bar)
    yield Figure(f"3 x overload of {what}: rows run, answered too late", in_vain, f"of {num_rows}")
    p99_ms = statistics.median(each.p99_ms for each in floods)
    yield Figure(f"3 x overload of {what}: p99 of what was answered", p99_ms, "ms")


def _times(options: Options) -> tuple[int, float]:
    """Return how many rounds, and the seconds of each measurement."""
    return (1, 1.0) if options.quick else (3, 2.5)


def _seconds_to_choose(options: Options) -> float:
    return 0.0 if options.quick else 0.7


def _resnet_store(folder: Path) -> Path:
    base, calibration = fitted_classifier("resnet18")
    publish(open_store(folder), "resnet", base, calibration=calibration)
    return _file(folder / "body", floats_body(3, 224, 224))


def _file(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _ask(stub: open_inference_pb2_grpc.GRPCInferenceServiceStub, model: str, body: Path) -> bytes:
    request = pb.ModelInferRequest.FromString(bytes.fromhex(heads_of(model)[0]) + body.read_bytes())
    return bytes(stub.ModelInfer(request).SerializeToString())


PARTS: dict[str, Part] = {part.__name__: part for part in (resnet, mobilenet, efficientnet, alone, mlp, jpeg, overload)}

if __name__ == "__main__":
    run_parts("serving", __doc__ or "", PARTS)
