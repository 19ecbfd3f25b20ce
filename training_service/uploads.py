"""Receives a dataset: a header, the archive's bytes in chunks, then the digest of all of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import IO

from maas.training.v1 import training_pb2 as pb

from model_store.blobs import BlobStore
from model_store.datasets import DatasetStore
from model_store.errors import InvalidInput, StorageFull
from model_store.names import check_id, parse_dataset
from model_store.records import Dataset
from training_service.archives import ArchiveLimits, read_archive
from training_service.datasets import read_manifest
from training_service.ingest import Ingested, Ingestor, Parent
from training_service.splits import SplitSpec
from training_service.streams import IncomingStream

MAX_CHUNK_BYTES = 3 * 1024 * 1024


class Uploads:
    """Turns upload streams into registered datasets; safe to share between uploads."""

    def __init__(
        self,
        datasets: DatasetStore,
        blobs: BlobStore,
        ingestor: Ingestor,
        limits: ArchiveLimits,
        *,
        max_archive_bytes: int,
    ) -> None:
        self._datasets = datasets
        self._blobs = blobs
        self._ingestor = ingestor
        self._limits = limits
        self._max_archive_bytes = max_archive_bytes

    def receive(self, stream: IncomingStream[pb.UploadDatasetRequest]) -> Dataset:
        """Read one upload and register its dataset; an upload that breaks off leaves nothing."""
        messages = iter(stream)
        header = _header(next(messages, None))
        dataset_id, split = check_id(header.dataset_id, "dataset_id"), _split(header.split)
        parent = self._parent(header)
        self._datasets.check_free(dataset_id)
        with self._blobs.temporary_file() as file:
            self._write(messages, file)
            split = parent.manifest.split if parent is not None else split
            ingested = self._ingestor.ingest(read_archive(file, self._limits), split, stream.check_client, parent)
        stream.check_client()
        return self._datasets.register(
            _record(dataset_id, ingested, parse_dataset(header.parent, "parent") if header.parent else None)
        )

    def _parent(self, header: pb.UploadDatasetRequest.Header) -> Parent | None:
        """Return the dataset to append to; raise DatasetNotFound, or InvalidInput where it is to be dealt anew."""
        if not header.parent:
            return None
        if header.HasField("split"):
            raise InvalidInput.of("split", "must be unset where there is a parent: its rows stay where they are")
        parent = self._datasets.living(parse_dataset(header.parent, "parent"))
        return Parent(parent.name, read_manifest(self._blobs, parent.digest), parent.summary)

    def _write(self, messages: Iterator[pb.UploadDatasetRequest], file: IO[bytes]) -> None:
        """Write all chunks to the file; raise InvalidInput unless they have the digest that follows them."""
        hasher, size = hashlib.sha256(), 0
        for message in messages:
            if message.WhichOneof("part") != "chunk":
                _check_end(message, next(messages, None), hasher.hexdigest())
                return
            size += len(message.chunk)
            if len(message.chunk) > MAX_CHUNK_BYTES:
                raise InvalidInput.of("chunk", f"must have at most {MAX_CHUNK_BYTES} bytes, not {len(message.chunk)}")
            if size > self._max_archive_bytes:
                raise StorageFull(f"the archive is over the limit of {self._max_archive_bytes} bytes: split it")
            hasher.update(message.chunk)
            file.write(message.chunk)
        raise InvalidInput.of("sha256", "is missing: the last message must hold the digest of all chunks")


def _header(message: pb.UploadDatasetRequest | None) -> pb.UploadDatasetRequest.Header:
    if message is None or message.WhichOneof("part") != "header":
        raise InvalidInput.of("header", "is missing: the first message must hold it")
    return message.header


def _check_end(message: pb.UploadDatasetRequest, following: pb.UploadDatasetRequest | None, digest: str) -> None:
    if message.WhichOneof("part") != "sha256":
        raise InvalidInput.of("chunk", "must follow: after the header come chunks, then the digest")
    if message.sha256 != digest:
        raise InvalidInput.of("sha256", f"the bytes that arrived have digest {digest}: send them again")
    if following is not None:
        raise InvalidInput.of("sha256", "must be the last message")


def _split(message: pb.SplitSpec) -> SplitSpec:
    chosen = {
        name: getattr(message, name) for name in ("validation_fraction", "test_fraction") if message.HasField(name)
    }
    return SplitSpec(seed=message.seed, **chosen)


def _record(dataset_id: str, ingested: Ingested, parent_id: str | None) -> Dataset:
    manifest = ingested.manifest
    return Dataset(
        id=dataset_id,
        digest=ingested.digest,
        packs=tuple({row.pack for row in manifest.rows}),
        num_rows=len(manifest.rows),
        size_bytes=sum(row.size for row in manifest.rows),
        summary=ingested.summary,
        parent_id=parent_id,
        created_at=datetime.now(UTC),
    )
