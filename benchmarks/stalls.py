"""Whether anything makes requests wait that are none of its business: thousands of loads, a slow store, large images.

    python -m benchmarks.stalls [--quick] [--json FILE] [--only start slow_store large_images] [--folder DIR]

`start` asks a service whether it is live, again and again, from when it listens until thousands of versions are loaded:
a call takes as long as the event loop has no time for it. `slow_store` needs the S3 server of the tests.

Learnt on the way: what a service keeps after large images is neither a leak nor Python's. Pillow takes blocks of 16 MB,
which glibc keeps once it has seen one freed.
"""

from __future__ import annotations

import gc
import io
import os
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import patch

import grpc
from maas.inference.v1 import inference_pb2 as pb
from maas.inference.v1 import inference_pb2_grpc
from maas.open_inference.v2 import open_inference_pb2 as open_pb
from maas.open_inference.v2 import open_inference_pb2_grpc
from PIL import Image
from s3fs import S3FileSystem

from benchmarks.harness.figures import Figure, Options, Part, in_turn, median_ratio, percentile, run_parts
from benchmarks.harness.load import Result
from benchmarks.harness.making import classifier, photo, pixels_body, publish
from benchmarks.harness.running import Served, open_store, serving
from benchmarks.harness.slow_answers import SlowAnswers, slow_answers
from maas_client.stack.processes import INFERENCE, ServiceProcess
from model_store.architectures import initialise_head
from model_store.names import AliasName, VersionName
from model_store.registry.models import PRODUCTION, ModelStore
from tests.s3_server import BUCKET, s3_server

ARCHITECTURE = "mobilenet_v2"
MODEL = "flowers"
_PAUSE_SECONDS = 0.002
_MAX_START_SECONDS = 300.0
_STORE_SECONDS = 5.0
_LARGE_EDGE = 7000


def start(folder: Path, options: Options) -> Iterator[Figure]:
    """A service starts with thousands of versions that are to be loaded."""
    num_models = 2_000 if options.quick else 10_000
    _publish_many(open_store(folder), num_models)
    environment = {"MAAS_HOME": str(folder), "MAAS_INFERENCE_BIND": "127.0.0.1:0"}
    service = ServiceProcess(INFERENCE, folder / "run", environment)
    try:
        address_file = folder / "run/inference_service.address"
        while not address_file.exists():
            time.sleep(_PAUSE_SECONDS)
        with grpc.insecure_channel(service.address) as channel:
            stub = open_inference_pb2_grpc.GRPCInferenceServiceStub(channel)
            began = time.monotonic()
            loading = _call_seconds(stub, lambda: _is_ready(stub) or time.monotonic() - began > _MAX_START_SECONDS)
            taken = time.monotonic() - began
            idle_until = time.monotonic() + min(taken, 5.0)
            idle = _call_seconds(stub, lambda: time.monotonic() > idle_until)
    finally:
        service.stop()
    yield Figure(
        f"start with {num_models} versions: longest stall of the event loop", 1000 * max(loading), "ms", "<= 50"
    )
    yield Figure("… p99 of a call", 1000 * percentile(loading, 0.99), "ms")
    yield Figure("… longest once all are loaded: what the machine adds", 1000 * max(idle), "ms")
    yield Figure("… until all are loaded", taken, "s")
    yield Figure("… a version", 1000 * taken / num_models, "ms")


def slow_store(folder: Path, options: Options) -> Iterator[Figure]:
    """New versions are loaded from an object store that takes seconds for each answer, while clients ask."""
    rounds, seconds = (2, 5.0) if options.quick else (4, 12.0)
    with s3_server(folder) as server, slow_answers(server.host, server.port) as proxy:
        slow = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{proxy.port}", "MAAS_BLOBS_URL": f"s3://{BUCKET}/maas"}
        with patch.dict(os.environ, {**server.environment, **slow}):
            store, body = open_store(folder), pixels_body(folder / "body")
            versions = [publish(store, MODEL, classifier(ARCHITECTURE, seed)).name for seed in range(rounds + 1)]
            _point(store, versions[0])
            with serving(folder, num_newest_versions=0, cache_dir=folder / "service-cache") as served:
                yield from _beside_a_slow_store(served, store, versions[1:], proxy, body, seconds)
            del store
            S3FileSystem.clear_instance_cache()  # its connections end here: at the interpreter's end their loop is gone
            gc.collect()


def _beside_a_slow_store(
    served: Served, store: ModelStore, versions: list[VersionName], proxy: SlowAnswers, body: Path, seconds: float
) -> Iterator[Figure]:
    rate = served.load(MODEL, body=body, seconds=seconds / 2, in_flight=8).rate / 4
    waiting, load_seconds = iter(versions), list[float]()

    def calm() -> Result:
        return served.load(MODEL, body=body, seconds=seconds, rate=rate)

    def loading() -> Result:
        version, proxy.delay_seconds = next(waiting), _STORE_SECONDS
        _point(store, version)
        result = calm()
        load_seconds.append(served.await_ready(str(version)).load_duration.ToNanoseconds() / 1e9)
        proxy.delay_seconds = 0.0
        return result

    quiet, busy = in_turn(len(versions), calm, loading)
    ratio = median_ratio([each.p99_ms for each in busy], [each.p99_ms for each in quiet])
    yield Figure("a load from a store that answers in 5 s", statistics.median(load_seconds), "s")
    yield Figure("requests at a quarter of the load, p99", statistics.median(each.p99_ms for each in quiet), "ms")
    yield Figure(
        "requests at a quarter of the load: p99 while the store answers in 5 s / without", ratio, "x", "<= 1.2"
    )
    yield Figure(
        "requests at a quarter of the load: errors", sum(each.num_errors for each in (*quiet, *busy)), "", "<= 0"
    )


def large_images(folder: Path, options: Options) -> Iterator[Figure]:
    """Requests of four images of 49 megapixels, one after the other, beside requests of a small photo."""
    num_calls = 2 if options.quick else 10
    publish(open_store(folder), MODEL, classifier(ARCHITECTURE), PRODUCTION)
    file = io.BytesIO()
    Image.new("RGB", (_LARGE_EDGE, _LARGE_EDGE), (90, 120, 150)).save(file, "PNG")
    with serving(folder) as served, ThreadPoolExecutor(1) as clients:
        alone = [_predict(served.stub, photo()) for _ in range(20)]
        before = served.rss_bytes
        large = clients.submit(lambda: [_predict(served.stub, *[file.getvalue()] * 4) for _ in range(num_calls)])
        beside = []
        while not large.done():
            beside.append(_predict(served.stub, photo()))
        kept = served.rss_bytes - before
    yield Figure(f"{num_calls} calls of four large images: memory kept", kept / 1e6, "MB", "<= 100")
    yield Figure("… a call", statistics.median(large.result()), "s")
    yield Figure("a small photo alone, p50", 1000 * statistics.median(alone), "ms")
    yield Figure("a small photo beside large images, p50", 1000 * statistics.median(beside), "ms")
    yield Figure("a small photo beside large images, longest", 1000 * max(beside), "ms", "<= 1000")


def _publish_many(store: ModelStore, num_models: int) -> None:
    """Publish models of the same content, so that loading one is short and most of a start is steps of the policy."""
    base = classifier(ARCHITECTURE)
    initialise_head(base.chain, 0)
    first = publish(store, "model-0", base)
    digests = {stage.name: stage.digest for stage in first.stages}
    for number in range(1, num_models):
        publish(store, f"model-{number}", base, kept=digests)


def _call_seconds(stub: open_inference_pb2_grpc.GRPCInferenceServiceStub, is_over: Callable[[], bool]) -> list[float]:
    """Ask whether the service is live until something is over; return how long each call took."""
    taken: list[float] = []
    while not taken or not is_over():
        began = time.perf_counter()
        stub.ServerLive(open_pb.ServerLiveRequest())
        taken.append(time.perf_counter() - began)
        time.sleep(_PAUSE_SECONDS)
    return taken


def _is_ready(stub: open_inference_pb2_grpc.GRPCInferenceServiceStub) -> bool:
    return bool(stub.ServerReady(open_pb.ServerReadyRequest()).ready)


def _predict(stub: inference_pb2_grpc.InferenceServiceStub, *images: bytes) -> float:
    """Return how long a request of these images takes."""
    request = pb.PredictRequest(name=f"models/{MODEL}", examples=[pb.Example(file=each) for each in images])
    began = time.perf_counter()
    stub.Predict(request, timeout=120)
    return time.perf_counter() - began


def _point(store: ModelStore, version: VersionName) -> None:
    store.set_alias(AliasName(MODEL, PRODUCTION), version)


PARTS: dict[str, Part] = {part.__name__: part for part in (start, slow_store, large_images)}

if __name__ == "__main__":
    run_parts("stalls", __doc__ or "", PARTS)
