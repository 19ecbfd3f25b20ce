"""Versions over the wire: receives the blobs of a published version, and sends those of a downloaded one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Container, Iterator, Mapping

from maas.model_store.v1 import model_store_pb2 as pb

from model_store.blobs import BlobStore, check_digest
from model_store.calibration import read_calibration
from model_store.errors import InvalidInput
from model_store.manifest_checks import check_manifest
from model_store.modalities import load_input_spec
from model_store.records.resources import ModelVersion
from model_store.transactions.publication import Publication
from training_service.api.client_streams import Receiver
from training_service.api.imported_version_checks import check_blobs, check_stages
from training_service.api.registry_requests import named_in, publication

_MAX_CHUNK_BYTES = 3 * 1024 * 1024
_SENT_CHUNK_BYTES = 1024 * 1024


def receive_version(
    check_client: Callable[[], None], blobs: BlobStore, max_sizes: Mapping[str, int]
) -> Receiver[pb.PublishModelVersionRequest, Publication]:
    """Store the blobs that a publisher sends, and return the version, ready for registration.

    `max_sizes` bounds the calibration examples, by modality in its unit. Raises InvalidInput if a message, the manifest
    or a blob does not fit, and IllegalState if blobs are missing. A blob that arrived whole stays: a publisher that
    begins again need not send it twice.
    """
    first = yield
    if first is None or first.WhichOneof("part") != "header":
        raise InvalidInput.of("header", "must come in the first message")
    ready = publication(first.header)
    with named_in("header.manifest_json"):
        check_manifest(ready.manifest)
    added = yield from _stored_blobs(set(ready.digests), blobs)
    check_blobs(ready, blobs)
    with named_in("header.manifest_json"):
        check_stages(ready.manifest, blobs)
    _check_calibration(ready, blobs, max_sizes)
    check_client()
    return ready.with_new_digests(added)


def blob_messages(
    version: ModelVersion, blobs: BlobStore, known: Collection[str]
) -> Iterator[pb.DownloadModelVersionResponse]:
    """Yield a version's blobs in chunks, each once, in the order of `blob_sizes`; raise MissingBlob or CorruptBlob."""
    for digest in version.blob_sizes:
        if digest not in known:
            for data in _verified(blobs, digest):
                chunk = pb.DownloadModelVersionResponse.BlobChunk(digest=digest, data=data)
                yield pb.DownloadModelVersionResponse(blob_chunk=chunk)


def _check_calibration(publication: Publication, blobs: BlobStore, max_sizes: Mapping[str, int]) -> None:
    """Raise InvalidInput where the calibration does not fit the manifest, and CorruptBlob."""
    manifest = publication.manifest
    if publication.calibration is not None:
        with named_in("header.calibration"):
            spec = load_input_spec(manifest.input_spec, blobs)
            read_calibration(blobs, publication.calibration, spec, len(manifest.names), max_sizes[spec.kind])


def _verified(blobs: BlobStore, digest: str) -> Iterator[bytes]:
    """Yield a blob's bytes as they are read; raise CorruptBlob after the last of them where they were others."""
    hasher = hashlib.sha256()
    with blobs.open(digest) as file:
        while data := file.read(_SENT_CHUNK_BYTES):
            hasher.update(data)
            yield data
    check_digest(digest, hasher.hexdigest(), "the stored copy")


def _stored_blobs(wanted: Container[str], blobs: BlobStore) -> Receiver[pb.PublishModelVersionRequest, set[str]]:
    """Store blobs that come one after the other, each verified against its digest; return those that were new."""
    added = set()
    message = yield
    while message is not None:
        digest = _chunk(message, wanted).digest
        with blobs.writer() as writer:
            while message is not None and (chunk := _chunk(message, wanted)).digest == digest:
                writer.write(chunk.data)
                message = yield
            if writer.commit(digest).added_bytes:
                added.add(digest)
    return added


def _chunk(message: pb.PublishModelVersionRequest, wanted: Container[str]) -> pb.PublishModelVersionRequest.BlobChunk:
    if message.WhichOneof("part") != "blob_chunk":
        raise InvalidInput.of("blob_chunk", "must be in every message after the first")
    chunk = message.blob_chunk
    if chunk.digest not in wanted:
        raise InvalidInput.of(
            "blob_chunk.digest", "is not the digest of a stage, of a file of the input spec or of the calibration"
        )
    if len(chunk.data) > _MAX_CHUNK_BYTES:
        raise InvalidInput.of("blob_chunk.data", f"must have at most {_MAX_CHUNK_BYTES} bytes, not {len(chunk.data)}")
    return chunk
