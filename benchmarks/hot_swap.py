"""Versions that come and go while clients ask: none fails, none gets another version's answer, and nothing is leaked.

    python -m benchmarks.hot_swap [--quick] [--json FILE] [--only swaps probe network] [--folder DIR]

The versions are full fine-tunes of MobileNetV2, which share no stage; the service holds the one that the alias points
at, so that every swap reads, verifies and warms up a whole network.

Learnt on the way: `torch.fx.symbolic_trace` changes `nn.Module.__call__` for the whole process while it traces, so a
trace in one thread fails the requests that run in another. OpenVINO prepares a copy of each stage for each core: while
16 clients keep two cores busy, a move of the alias takes 1.3 times as long until it is answered as by PyTorch, and 1.6
times when all rows' own copy was prepared then too. With the first copy alone it takes 0.4 of the time, and the
requests that wait for the other copies have a p99 of 3 to 5 times that without swaps, and 2 as it is.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import cycle
from pathlib import Path
from queue import SimpleQueue
from threading import Thread

import grpc
from maas.inference.v1 import inference_pb2 as pb
from maas.open_inference.v2 import open_inference_pb2 as open_pb

from benchmarks.harness.figures import Figure, Options, Part, in_turn, median_ratio, run_parts
from benchmarks.harness.load import Result
from benchmarks.harness.making import Probes, classifier, pixels_body, publish
from benchmarks.harness.running import Served, open_store, serving
from model_store.names import AliasName, VersionName
from model_store.registry.models import PRODUCTION, ModelStore

ARCHITECTURE = "mobilenet_v2"
MODEL = "flowers"
NUM_CLIENTS = 16
_REST_SECONDS = 0.2  # between two swaps


def swaps(folder: Path, options: Options) -> Iterator[Figure]:
    """An alias moves on and on while clients ask for it."""
    rounds, seconds = (1, 4.0) if options.quick else (4, 12.0)
    store, body = open_store(folder), pixels_body(folder / "body")
    versions = [publish(store, MODEL, classifier(ARCHITECTURE, seed), PRODUCTION).name for seed in range(3)]
    with serving(folder, num_newest_versions=0) as served, ThreadPoolExecutor(1) as clients:
        alias = _Alias(served, store, versions)
        for _ in versions:  # compiled once, for all later loads
            alias.swap()
            served.await_openvino(f"models/{MODEL}")
        alias.seconds.clear()

        def asking(seconds: float) -> Result:
            return served.load(MODEL, body=body, seconds=seconds, in_flight=NUM_CLIENTS, keeps_answers=True)

        def swapping() -> Result:
            result = clients.submit(asking, seconds)
            while not result.done():
                alias.swap()
                wait([result], _REST_SECONDS)
            return result.result()

        calm, busy = in_turn(rounds, lambda: asking(seconds / 2), swapping)
    results = [*calm, *busy]
    wrong = sum(not alias.meant(*answer) for each in results for answer in each.answers)
    failed = sum(each.num_errors for each in results)
    num_answers = sum(each.num_answered for each in results)
    yield Figure(f"{len(alias.seconds)} swaps under {NUM_CLIENTS} clients: failed", failed, f"of {num_answers}", "<= 0")
    for error in sorted({error for each in results for error in each.errors}):
        yield Figure(error, sum(each.errors.get(error, 0) for each in results), "")
    yield Figure("answers from a version that was not asked for", wrong, f"of {num_answers}", "<= 0")
    yield Figure("p99 without swaps", statistics.median(each.p99_ms for each in calm), "ms")
    ratio = median_ratio([each.p99_ms for each in busy], [each.p99_ms for each in calm])
    yield Figure("p99 while swapping / without", ratio, "x", "<= 2")
    yield Figure("from moving the alias to its answers, p50", statistics.median(alias.seconds) * 1000, "ms")


def probe(folder: Path, options: Options) -> Iterator[Figure]:
    """A linear probe is loaded and unloaded, over and over; its backbone stays."""
    probes = Probes(open_store(folder), classifier(ARCHITECTURE))
    probes.publish("other", seed=1)
    probes.publish(MODEL, seed=2)
    yield from _leaks(folder, "a probe", num_cycles=100 if options.quick else 500)


def network(folder: Path, options: Options) -> Iterator[Figure]:
    """A whole network is loaded and unloaded, over and over."""
    publish(open_store(folder), MODEL, classifier(ARCHITECTURE))
    yield from _leaks(folder, "a network", num_cycles=60 if options.quick else 200)


class _Alias:
    """Moves an alias from version to version, and knows when each may have answered to it.

    From just before the move is committed, since the service is free to follow at once, until the service was seen to
    have followed the next move: a version is never taken for a wrong one by mistake.
    """

    def __init__(self, served: Served, store: ModelStore, versions: Sequence[VersionName]) -> None:
        self._store = store
        self._versions = cycle(versions)
        self._served: SimpleQueue[tuple[float, str]] = SimpleQueue()
        self._moved = [(-math.inf, str(versions[-1]))]
        self._left: list[float] = []
        self.seconds: list[float] = []
        Thread(target=self._watch, args=(served,), daemon=True).start()

    def swap(self) -> None:
        """Move the alias to the next version, and wait until that one answers."""
        version, moved = next(self._versions), time.monotonic()
        self._store.set_alias(AliasName(MODEL, PRODUCTION), version)
        while (seen := self._served.get(timeout=60))[1] != str(version):
            pass
        self._moved.append((moved, str(version)))
        self._left.append(seen[0])
        self.seconds.append(seen[0] - moved)

    def meant(self, began: float, ended: float, number: str) -> bool:
        """Say whether a version may have answered to the alias at some moment of a request."""
        spans = zip(self._moved, [*self._left, math.inf], strict=True)
        return any(
            version == f"models/{MODEL}/versions/{number}" and moved <= ended and began <= left
            for (moved, version), left in spans
        )

    def _watch(self, served: Served) -> None:
        try:
            for state in served.stub.WatchServedModels(pb.WatchServedModelsRequest(name=f"models/{MODEL}")):
                self._served.put((time.monotonic(), next(each.version for each in state.aliases)))
        except grpc.RpcError as error:
            if error.code() not in {grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE}:
                raise  # those are the end of the channel, and of the service


def _leaks(folder: Path, what: str, num_cycles: int) -> Iterator[Figure]:
    """Load and unload by calls; compare the memory of the service after a tenth of the cycles with that at the end."""
    unload = open_pb.RepositoryModelUnloadRequest(model_name=MODEL)
    load = open_pb.RepositoryModelLoadRequest(model_name=MODEL)
    rss_bytes = []
    with serving(folder) as served:
        served.await_openvino(f"models/{MODEL}")
        for _ in range(num_cycles):
            served.open_stub.RepositoryModelUnload(unload, timeout=60)
            rss_bytes.append(served.rss_bytes)
            served.open_stub.RepositoryModelLoad(load, timeout=60)
    early = min(50, num_cycles // 2)
    growth = rss_bytes[-1] / rss_bytes[early - 1] - 1
    yield Figure(f"{what}: process memory after {early} cycles", rss_bytes[early - 1] / 1e6, "MB")
    yield Figure(f"{what}: growth from there to cycle {num_cycles}", growth * 100, "%", "<= 5")


PARTS: dict[str, Part] = {part.__name__: part for part in (swaps, probe, network)}

if __name__ == "__main__":
    run_parts("hot swap", __doc__ or "", PARTS)
