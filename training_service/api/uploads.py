"""Makes datasets of what is uploaded (a header, an archive in chunks, then its digest), or lies at a URL."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO

from maas.training.v1 import training_pb2 as pb

from model_store.blobs import BlobStore
from model_store.errors import InvalidInput, StorageFull
from model_store.names import check_id, parse_dataset
from model_store.records.resources import Dataset
from model_store.registry.datasets import DatasetStore
from training_service.api.client_streams import Receiver
from training_service.datasets.archive_names import check_encoding
from training_service.datasets.archives import ArchiveFile, ArchiveLimits, read_archive
from training_service.datasets.manifest import read_manifest
from training_service.datasets.sources import Sources
from training_service.datasets.splits import SplitSpec
from training_service.modalities.image.ingest import Ingested, Ingestor, Parent

MAX_CHUNK_BYTES = 3 * 1024 * 1024
_SHOWN_EQUAL = 3

Wanted = pb.UploadDatasetRequest.Header | pb.RegisterDatasetRequest
"""What the dataset is to be."""


@dataclass(frozen=True)
class _Begun:
    """A dataset that is being made."""

    dataset_id: str
    split: SplitSpec
    parent: Parent | None
    reuse: bool


class Uploads:
    """Turns uploads and sources into registered datasets; safe to share between threads."""

    def __init__(
        self,
        datasets: DatasetStore,
        blobs: BlobStore,
        ingestor: Ingestor,
        sources: Sources,
        limits: ArchiveLimits,
        *,
        max_archive_bytes: int,
    ) -> None:
        self._datasets = datasets
        self._sources = sources
        self._blobs = blobs
        self._ingestor = ingestor
        self._limits = limits
        self._max_archive_bytes = max_archive_bytes

    def receive(self, check_client: Callable[[], None]) -> Receiver[pb.UploadDatasetRequest, Dataset]:
        """Read one upload and register its dataset; an upload that breaks off leaves nothing."""
        header = _header((yield))
        encoding, begun = check_encoding(header.file_name_encoding), self._begun(header)
        with self._blobs.temporary_file() as file:
            yield from self._written(file)
            return self._made(begun, read_archive(file, self._limits, encoding), "", check_client)

    def register(self, request: pb.RegisterDatasetRequest, check_going_on: Callable[[], None]) -> Dataset:
        """Read what lies at a URL and register it as a dataset; raise what `Sources` raises."""
        source, encoding = self._sources.find(request.uri), check_encoding(request.file_name_encoding)
        begun = self._begun(request)
        with self._blobs.temporary_file() as file:
            return self._made(begun, self._sources.read(source, file, encoding), source.uri, check_going_on)

    def _begun(self, wanted: Wanted) -> _Begun:
        """Check what can be known before the files are read."""
        dataset_id, split = check_id(wanted.dataset_id, "dataset_id"), _split(wanted.split)
        parent = self._parent(wanted)
        self._datasets.check_free(dataset_id)
        return _Begun(dataset_id, parent.manifest.split if parent is not None else split, parent, wanted.reuse)

    def _made(
        self, begun: _Begun, files: Iterable[ArchiveFile], uri: str, check_going_on: Callable[[], None]
    ) -> Dataset:
        """Register the dataset of these files.

        Of equal content the dataset that is there is the answer where `reuse` is set; else it is remarked on.
        """
        ingested = self._ingestor.ingest(files, begun.split, check_going_on, begun.parent)
        check_going_on()
        equal = self._datasets.living_of_digest(ingested.digest)
        if equal and begun.reuse:
            return equal[0]
        return self._datasets.register(_record(begun, ingested, uri, equal))

    def _parent(self, wanted: Wanted) -> Parent | None:
        """Return the dataset to append to; raise DatasetNotFound, or InvalidInput where it is to be dealt anew."""
        if not wanted.parent:
            return None
        if wanted.HasField("split"):
            raise InvalidInput.of("split", "must be unset where there is a parent: its rows stay where they are")
        parent = self._datasets.living(parse_dataset(wanted.parent, "parent"))
        return Parent(parent.name, read_manifest(self._blobs, parent.digest), parent.summary)

    def _written(self, file: IO[bytes]) -> Receiver[pb.UploadDatasetRequest, None]:
        """Write all chunks to the file; raise InvalidInput unless they have the digest that follows them."""
        hasher, size = hashlib.sha256(), 0
        while (message := (yield)) is not None:
            if message.WhichOneof("part") != "chunk":
                _check_end(message, hasher.hexdigest())
                if (yield) is not None:
                    raise InvalidInput.of("sha256", "must be the last message")
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


def _check_end(message: pb.UploadDatasetRequest, digest: str) -> None:
    if message.WhichOneof("part") != "sha256":
        raise InvalidInput.of("chunk", "must follow: after the header come chunks, then the digest")
    if message.sha256 != digest:
        raise InvalidInput.of("sha256", f"the bytes that arrived have digest {digest}: send them again")


def _split(message: pb.SplitSpec) -> SplitSpec:
    chosen = {
        name: getattr(message, name) for name in ("validation_fraction", "test_fraction") if message.HasField(name)
    }
    return SplitSpec(seed=message.seed, **chosen)


def _record(begun: _Begun, ingested: Ingested, uri: str, equal: Sequence[Dataset]) -> Dataset:
    manifest = ingested.manifest
    remarks = [*ingested.summary["remarks"], *(f"{each.name} has the same content" for each in equal[:_SHOWN_EQUAL])]
    return Dataset(
        id=begun.dataset_id,
        digest=ingested.digest,
        packs=tuple({row.pack for row in manifest.rows}),
        num_rows=len(manifest.rows),
        size_bytes=sum(row.size for row in manifest.rows),
        summary={**ingested.summary, "remarks": remarks, "uri": uri},
        parent_id=parse_dataset(begun.parent.name, "parent") if begun.parent is not None else None,
        created_at=datetime.now(UTC),
    )
