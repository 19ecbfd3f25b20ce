"""Publications of a base, sent as a client sends them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from maas.model_store.v1 import model_store_pb2 as pb

from model_store.blobs.local import LocalBlobs
from model_store.manifests import Manifest
from tests.training_service.registry_running import RunningRegistry

MEBIBYTE = 1024 * 1024


def header(manifest: Manifest, **more: object) -> pb.PublishModelVersionRequest:
    """Return the first message of a publication."""
    made = pb.PublishModelVersionRequest.Header(parent="models/a", manifest_json=manifest.to_json().decode(), **more)
    return pb.PublishModelVersionRequest(header=made)


def chunks(blobs: LocalBlobs, digests: Iterable[str], size: int = MEBIBYTE) -> Iterator[pb.PublishModelVersionRequest]:
    """Yield the later messages."""
    for digest in digests:
        data = bytes(blobs.read(digest))
        for start in range(0, len(data), size):
            chunk = pb.PublishModelVersionRequest.BlobChunk(digest=digest, data=data[start : start + size])
            yield pb.PublishModelVersionRequest(blob_chunk=chunk)


def download(
    registry: RunningRegistry, name: str, known: Iterable[str] = ()
) -> tuple[pb.ModelVersion, dict[str, bytes]]:
    """Return what DownloadModelVersion sends: the version, and its blobs in the order they come."""
    request = pb.DownloadModelVersionRequest(name=name, known_digests=known)
    messages = registry.client.registry.DownloadModelVersion(request)
    blobs: dict[str, bytes] = {}
    version = next(messages).version
    for message in messages:
        blobs[message.blob_chunk.digest] = blobs.get(message.blob_chunk.digest, b"") + message.blob_chunk.data
        assert len(message.blob_chunk.data) <= MEBIBYTE
    return version, blobs
