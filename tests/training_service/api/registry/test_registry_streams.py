"""Versions as streams of blobs: published again after a break, and downloaded byte by byte."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from maas.model_store.v1 import model_store_pb2 as pb

from maas_client.transfers.publish import publish_base
from model_store.bases.catalogue import LoadedBase
from model_store.blobs.local import LocalBlobs
from model_store.manifests import Manifest
from model_store.names import VersionName
from model_store.tasks import Classification
from tests.model_store.making import publication
from tests.training_service.publications import MEBIBYTE, chunks, download, header
from tests.training_service.registry_running import TIMEOUT, RunningRegistry
from tests.training_service.running import refused, until


def test_a_version_comes_back_as_it_was_published(registry: RunningRegistry, base: LoadedBase) -> None:
    """Every byte of every stage, by number and by alias; what the caller has is not sent."""
    published = publish_base(registry.client, "a", base, alias="live")
    version, blobs = download(registry, "models/a/aliases/live")
    assert version == published
    assert list(blobs) == list(dict.fromkeys(stage.digest for stage in published.stages))
    assert all(hashlib.sha256(data).hexdigest() == digest for digest, data in blobs.items())
    assert {digest: len(data) for digest, data in blobs.items()} == {
        stage.digest: stage.size_bytes for stage in published.stages
    }
    known = [stage.digest for stage in published.stages[1:]]
    _, rest = download(registry, published.name, [*known, "0" * 64])
    assert set(rest) == set(blobs) - set(known)


def test_a_download_of_what_is_gone_or_damaged_says_so(registry: RunningRegistry) -> None:
    """NOT_FOUND, INVALID_ARGUMENT with its field, FAILED_PRECONDITION for a deleted version, and DATA_LOSS."""
    store = registry.store
    for seeds in ((1, 2), (3, 4), (5, 6)):
        store.publish(publication(store, "a", seeds))
    with refused(grpc.StatusCode.NOT_FOUND, "models/a/versions/9"):
        download(registry, "models/a/versions/9")
    with refused(grpc.StatusCode.INVALID_ARGUMENT, fields=["name"]):
        download(registry, "models/a")
    with refused(grpc.StatusCode.INVALID_ARGUMENT, fields=["known_digests[0]"]):
        download(registry, "models/a/versions/1", ["x"])
    store.delete_version(VersionName("a", 3))
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "undelete it first"):
        download(registry, "models/a/versions/3")
    gone, damaged = (registry.blobs.path(store.get_version(VersionName("a", n)).stages[1].digest) for n in (1, 2))
    gone.unlink()
    damaged.chmod(0o600)
    damaged.write_bytes(bytes(damaged.stat().st_size))
    for number, path in ((1, gone), (2, damaged)):
        with refused(grpc.StatusCode.DATA_LOSS, path.name):
            download(registry, f"models/a/versions/{number}")


def test_a_caller_who_leaves_a_download_leaves_nothing_open(
    registry: RunningRegistry, base: LoadedBase, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The file that was being sent is closed, and nothing is logged as a fault."""
    name = publish_base(registry.client, "a", base).name
    folder = str(tmp_path / "home/blobs")
    for _ in range(20):
        call = registry.client.registry.DownloadModelVersion(pb.DownloadModelVersionRequest(name=name))
        next(call)
        next(call)
        call.cancel()
    until(lambda: not any(str(path).startswith(folder) for path in _open_files()))
    assert "request_failed" not in "".join(capfd.readouterr())


def test_a_broken_publication_goes_on_with_what_is_missing(
    registry: RunningRegistry, local: tuple[Manifest, LocalBlobs]
) -> None:
    """Blobs that had arrived whole are not asked for again; the repeat of a request registers nothing new."""
    manifest, blobs = local
    digests = list(dict.fromkeys(stage.digest for stage in manifest.stages))
    arrived, cut = digests[:2], digests[2]
    broke = threading.Event()

    def broken() -> Iterator[pb.PublishModelVersionRequest]:
        yield header(manifest, request_id="r")
        yield from chunks(blobs, [*arrived])
        yield next(chunks(blobs, [cut], 100))
        broke.wait(TIMEOUT)

    call = registry.client.registry.PublishModelVersion.future(broken())
    # A blob is stored once the first chunk of the next one has come.
    until(lambda: registry.blobs.has(arrived[-1]))
    call.cancel()
    broke.set()
    wanted = pb.FindMissingBlobsRequest(digests=digests)
    missing = list(registry.client.registry.FindMissingBlobs(wanted).missing_digests)
    assert missing == digests[2:]
    assert list(registry.client.models()) == []
    message = [header(manifest, request_id="r"), *chunks(blobs, missing)]
    version = registry.client.registry.PublishModelVersion(iter(message))
    assert version.name == "models/a/versions/1"
    assert registry.client.registry.PublishModelVersion(iter(message[:1])) == version
    other = header(replace(manifest, task=Classification(("x", "y", "z"))))
    other.header.request_id = "r"
    with refused(grpc.StatusCode.ALREADY_EXISTS, "take a new one"):
        registry.client.registry.PublishModelVersion(iter([other]))


def test_a_chunk_of_more_than_three_mebibytes_is_refused(
    registry: RunningRegistry, local: tuple[Manifest, LocalBlobs]
) -> None:
    """One byte more than allowed is too much, and what was sent of the blob is not kept."""
    manifest, _ = local
    digest = manifest.stages[0].digest
    for num_bytes, text in ((3 * MEBIBYTE + 1, "at most 3145728 bytes"), (3 * MEBIBYTE, "send them again")):
        chunk = pb.PublishModelVersionRequest.BlobChunk(digest=digest, data=bytes(num_bytes))
        with refused(grpc.StatusCode.INVALID_ARGUMENT, text):
            registry.client.registry.PublishModelVersion(
                iter([header(manifest), pb.PublishModelVersionRequest(blob_chunk=chunk)])
            )
    assert not registry.blobs.has(digest)


def _open_files() -> list[Path]:
    found = []
    for each in Path("/proc/self/fd").iterdir():
        try:
            found.append(each.readlink())
        except FileNotFoundError:
            continue
    return found
