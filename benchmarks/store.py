"""The model store against the limit: what it adds to the disk, to a plain file, to a query, to a moment.

    python -m benchmarks.store [--quick] [--json FILE] [--only publish load …] [--folder DIR]

Learnt on the way (2 cores with SHA-NI, a disk of about 1.4 GB/s cold reads and 0.3 GB/s synced writes):

- SHA-256 runs at 1.5 GB/s a core and lets go of the interpreter's lock: hashing several stages at once, each while
  another waits for the disk, hides most of it.
- Reading ahead in a second thread, or asking the kernel to, gains nothing: both cores are busy hashing and copying.
- The interpreter's garbage collector walks over everything that PyTorch's import made, 100 ms each time: without
  `gc.freeze()` that was the slowest page of a hundred.
- `safetensors.torch.load_file` only maps a file; a tensor costs when it is touched. Every tensor is touched here, on
  both sides, so that the two do the same.
"""

from __future__ import annotations

import gc
import multiprocessing
import multiprocessing.connection
import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import safetensors.torch
import torch
from sqlalchemy import text

from benchmarks.harness.figures import Figure, Options, Part, percentile, run_parts, seconds_in_turn
from benchmarks.harness.publications import (
    GIGABYTE,
    forget,
    insert_versions,
    peak_memory,
    publication,
    random_state,
    resnet50,
    small,
    touch,
    vit_like,
)
from model_store.architectures import Head, build, initialise_head
from model_store.blobs.local import LocalBlobs
from model_store.database.engine import Database, sqlite_url
from model_store.database.paging import PageRequest, encode_token
from model_store.manifests import Manifest, ManifestStage
from model_store.registry.models import ModelStore
from model_store.tasks import Classification
from model_store.tensors.stages import read_stages, write_stage, write_stages
from model_store.transactions.changes import ChangeFeed
from model_store.transactions.listings import ListRequest
from model_store.transactions.publication import Publication
from tests.model_store.killing import kill_writers
from tests.postgres_server import new_database, postgres_server


def concurrency(folder: Path, options: Options) -> Iterator[Figure]:
    """16 processes publish to one model at once: every number is given once, and nothing fails."""
    num_processes, num_each = 16, 10 if options.quick else 50
    for kind, database in _databases(folder):
        url = database.url.render_as_string(hide_password=False)
        started = time.perf_counter()
        context = multiprocessing.get_context("fork")
        with context.Pool(num_processes) as pool:
            work = [(url, folder / kind, seed, num_each) for seed in range(num_processes)]
            results = [each for numbers in pool.starmap(_publish_many, work) for each in numbers]
        seconds = time.perf_counter() - started
        numbers = [each for each in results if isinstance(each, int)]
        total = num_processes * num_each
        missing = len(set(range(1, total + 1)) ^ set(numbers)) + len(numbers) - len(set(numbers))
        yield Figure(f"{kind}: {num_processes} x {num_each} publishes, errors", len(results) - len(numbers), "", "<= 0")
        yield Figure(f"{kind}: numbers missing, doubled or too high", missing, "", "<= 0")
        yield Figure(f"{kind}: publishes a second", total / seconds, "/s")


def _publish_many(url: str, folder: Path, seed: int, count: int) -> list[int | str]:
    """Publish in a process of its own; return the numbers given, and the errors as text."""
    torch.set_num_threads(1)
    results: list[int | str] = []
    with closing(Database(url)) as database:
        store = ModelStore(database, LocalBlobs(folder))
        for index in range(count):
            try:
                results.append(store.publish(small(store, "flowers", seed * 1000 + index)).name.number)
            except Exception as error:  # noqa: BLE001  whatever it is, it counts as an error
                results.append(repr(error))
    return results


def kills(folder: Path, options: Options) -> Iterator[Figure]:
    """Kill -9 at random moments of publishing, deleting and collecting: every row and every byte checked after each."""
    num_kills = 8 if options.quick else 200
    for kind, database in _databases(folder):
        outcome = kill_writers(database, folder / f"{kind}-blobs", num_kills=num_kills, seed=1)
        wrong = len(outcome.problems) + len(outcome.models_with_wrong_numbers)
        yield Figure(f"{kind}: {num_kills} kills, dangling rows, torn blobs, wrong numbers", wrong, "", "<= 0")
        left = outcome.num_orphans + outcome.num_unfinished
        yield Figure(f"{kind}: orphans and unfinished files after gc", left, "", "<= 0")
        yield Figure(f"{kind}: versions published meanwhile", outcome.num_published, "")


def probes(folder: Path, options: Options) -> Iterator[Figure]:
    """Linear probes of one MobileNetV2: each stores its head and a manifest, and nothing else."""
    count, labels = (100 if options.quick else 1000), tuple(f"label {index}" for index in range(10))
    chain = build("mobilenet_v2", {}, Head("linear", len(labels)))
    chain.load_state_dict_torchvision(random_state(chain.state_dict_torchvision(), 0))
    with closing(_sqlite(folder)) as database:
        store = ModelStore(database, LocalBlobs(folder / "blobs"))
        kept = {name: write_stage(store.blobs, chain.stage_tensors(name)) for name, _ in chain.backbone}
        base_bytes, head_bytes = sum(blob.size_bytes for blob in kept.values()), 0
        for seed in range(count):
            initialise_head(chain, seed)
            head = write_stage(store.blobs, chain.stage_tensors("head"))
            head_bytes += head.size_bytes
            stages = [*((name, blob.digest) for name, blob in kept.items()), ("head", head.digest)]
            manifest = Manifest(
                "mobilenet_v2", {}, tuple(ManifestStage(*each) for each in stages), {"kind": "image"},
                Classification(labels), Head("linear", len(labels)).to_json(), chain.embedding_size,
            )  # fmt: skip
            store.publish(Publication(f"probe-{seed}", manifest))
        stored = sum(status.size_bytes for status in store.blobs.all())
    plain = folder / "plain.pt"
    torch.save(chain.state_dict_torchvision(), plain)
    yield Figure(f"{count} probes: stored / (one base + heads)", stored / (base_bytes + head_bytes), "x", "<= 1.3")
    yield Figure(f"{count} torch.save files / stored", plain.stat().st_size * count / stored, "x")


def publish(folder: Path, options: Options) -> Iterator[Figure]:
    """A whole ResNet-50, to local disk: hashed, deduplicated, registered; against one plain synced file."""
    stages = resnet50()
    tensors = {name: tensor for stage in stages.values() for name, tensor in stage.items()}
    num_bytes = sum(tensor.nbytes for tensor in tensors.values())
    with closing(_sqlite(folder)) as database:
        rounds = iter(range(1000))

        def ours() -> None:
            store = ModelStore(database, LocalBlobs(folder / f"blobs{next(rounds)}"))
            store.publish(publication(write_stages(store.blobs, stages), "resnet"))

        def plain() -> None:
            path = folder / f"plain{next(rounds)}.safetensors"
            safetensors.torch.save_file(tensors, path)
            with path.open("rb") as file:
                os.fsync(file.fileno())

        mine, theirs = seconds_in_turn(3 if options.quick else 15, ours, plain)
    yield Figure("resnet50: publish rate / save_file + fsync", theirs / mine, "x", ">= 0.7")
    yield Figure("resnet50: publish", num_bytes / mine / 1e6, "MB/s")


def load(folder: Path, options: Options) -> Iterator[Figure]:
    """The same ResNet-50 from a cold disk, every byte verified, against `load_file` of one cold file."""
    stages = resnet50()
    blobs, path = LocalBlobs(folder / "blobs"), folder / "plain.safetensors"
    digests = [blob.digest for blob in write_stages(blobs, stages).values()]
    safetensors.torch.save_file({name: each for stage in stages.values() for name, each in stage.items()}, path)
    os.sync()

    def ours() -> None:
        for tensors in read_stages(blobs, digests).values():
            touch(tensors)

    def theirs() -> None:
        touch(safetensors.torch.load_file(path))

    files = [path, *(blobs.path(digest) for digest in digests)]
    mine, plain = seconds_in_turn(3 if options.quick else 15, ours, theirs, before=lambda: forget(files))
    yield Figure("resnet50: cold load, verified / load_file", mine / plain, "x", "<= 1.5")
    yield Figure("resnet50: cold load", mine * 1000, "ms")


def large(folder: Path, options: Options) -> Iterator[Figure]:
    """A large ViT-like chain: publishing and loading stream, whatever its size."""
    size = GIGABYTE // 2 if options.quick else 4 * GIGABYTE
    with closing(_sqlite(folder)) as database:
        blobs = LocalBlobs(folder / "blobs")
        store, stages = ModelStore(database, blobs), dict(vit_like(size))
        num_bytes = sum(tensor.nbytes for stage in stages.values() for tensor in stage.values())
        name = f"{num_bytes / GIGABYTE:.1f} GB"
        with peak_memory() as published:
            version = store.publish(publication(write_stages(blobs, stages), "vit"))
        del stages
        digests = [stage.digest for stage in version.stages]
        paths = [blobs.path(digest) for digest in digests]
        os.sync()
        loading, reading = seconds_in_turn(
            1 if options.quick else 3,
            lambda: read_stages(blobs, digests),
            lambda: [path.read_bytes() for path in paths],
            before=lambda: forget(paths),
        )
        with peak_memory() as loaded:
            held = read_stages(blobs, digests)
        del held
    yield Figure(f"{name}: memory beyond the tensors, publish", published[0] / 1e6, "MB", "<= 256")
    yield Figure(f"{name}: memory beyond the tensors, load", (loaded[0] - num_bytes) / 1e6, "MB", "<= 256")
    yield Figure(f"{name}: cold load, verified / reading the bytes", loading / reading, "x", "<= 1.3")
    yield Figure(f"{name}: cold load", num_bytes / loading / 1e6, "MB/s")


def listing(folder: Path, options: Options) -> Iterator[Figure]:
    """Pages of a model's versions, few and many, on PostgreSQL."""
    many, num_pages = (10_000 if options.quick else 100_000), (100 if options.quick else 500)
    with postgres_server(folder) as url, closing(new_database(url)) as database:
        for model, count in (("few", 100), ("many", many)):
            insert_versions(database, model, count)
        with database.write() as session:
            session.execute(text("ANALYZE"))
        store = ModelStore(database, LocalBlobs(folder / "blobs"))
        few, first, later = [], [], []
        tokens = _page_tokens("many", many)
        gc.freeze()  # as the services do
        for _ in range(num_pages):
            few += _seconds_to_list(store, "few", "")
            first += _seconds_to_list(store, "many", "")
            later += _seconds_to_list(store, "many", random.choice(tokens))
    base = percentile(few, 0.99)
    yield Figure(f"first page of {many:,} versions / of 100, p99", percentile(first, 0.99) / base, "x", "<= 2")
    yield Figure(f"any later page of {many:,} / of 100, p99", percentile(later, 0.99) / base, "x", "<= 2")
    yield Figure("a page of 100 versions, p99", base * 1000, "ms")


def follow(folder: Path, options: Options) -> Iterator[Figure]:
    """From the end of a commit until another process has seen the change."""
    for (kind, database), bar in zip(_databases(folder), ("<= 1000", "<= 100"), strict=True):
        url = database.url.render_as_string(hide_password=False)
        delays = _delays(url, folder / kind, 50 if options.quick else 500)
        yield Figure(f"{kind}: change seen by a follower, p50", percentile(delays, 0.5) * 1000, "ms")
        yield Figure(f"{kind}: change seen by a follower, p99", percentile(delays, 0.99) * 1000, "ms", bar)


def _delays(url: str, folder: Path, count: int) -> list[float]:
    """Publish one after the other, each when the one before was seen; return the seconds each took to be seen."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    child = context.Process(target=_tell_when_seen, args=(url, there, count), daemon=True)
    child.start()
    delays = []
    here.recv()
    with closing(Database(url)) as database:
        store = ModelStore(database, LocalBlobs(folder))
        for seed in range(count):
            store.publish(small(store, "flowers", seed))
            committed = time.monotonic()
            delays.append(max(0.0, here.recv() - committed))
            time.sleep(random.uniform(0, 0.02))  # so that polls are met at any moment
    child.join()
    return delays


def _tell_when_seen(url: str, pipe: multiprocessing.connection.Connection, count: int) -> None:
    with closing(Database(url)) as database:
        feed, seen = ChangeFeed(database), 0
        pipe.send("ready")
        for changes in feed.follow(0, stop=threading.Event()):
            for _ in changes:
                pipe.send(time.monotonic())
                seen += 1
            if seen >= count:
                return


def _databases(folder: Path) -> Iterator[tuple[str, Database]]:
    """Yield an empty database of each kind."""
    with closing(_sqlite(folder)) as database:
        yield "sqlite", database
    with ExitStack() as stack:
        url = stack.enter_context(postgres_server(folder / "server", fsync=True))
        yield "postgresql", stack.enter_context(closing(new_database(url)))


def _sqlite(folder: Path) -> Database:
    database = Database(sqlite_url(folder / "store.db"))
    database.open_schema()
    return database


def _page_tokens(model: str, count: int) -> list[str]:
    """Return the tokens of some pages, spread over the whole listing."""
    name = ListRequest().listing(f"versions of {model}")
    return [encode_token(name, number) for number in range(101, count, max(1, count // 500))]


def _seconds_to_list(store: ModelStore, model: str, token: str) -> list[float]:
    def page() -> None:
        assert len(store.list_versions(model, ListRequest(PageRequest(0, token))).items) == 100

    return seconds_in_turn(1, page)


PARTS: dict[str, Part] = {
    part.__name__: part for part in (concurrency, kills, probes, publish, load, large, listing, follow)
}

if __name__ == "__main__":
    run_parts("model store", __doc__ or "", PARTS)
