"""Makes datasets of uploads (a header, an archive in chunks, then its digest), and of data at a URL."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO

from maas.training.v1 import training_pb2 as pb

from model_store.blobs import BlobStore
from model_store.errors import DatasetNotFound, InvalidInput, StorageFull
from model_store.manifests import DIGEST
from model_store.names import check_id, parse_dataset
from model_store.records.resources import Dataset
from model_store.registry.datasets import DatasetStore
from training_service.api.client_streams import Receiver
from training_service.api.datasets.requests import Wanted, check_modality, modality_of, read_asked
from training_service.api.registry_convert import timestamp
from training_service.api.violations import check_request_id
from training_service.datasets.files.archive_names import check_encoding
from training_service.datasets.files.archives import ArchiveLimits, read_archive
from training_service.datasets.files.formats import Format, format_of
from training_service.datasets.files.sources import Sources
from training_service.datasets.files.upload_spool import SpooledUpload, UploadSpool, UploadUnfinished, upload_key
from training_service.datasets.ingest import Ingested, Ingestor, Parent
from training_service.datasets.manifest import read_manifest
from training_service.datasets.reading import Asked, Received
from training_service.datasets.splits import SplitSpec

MAX_CHUNK_BYTES = 3 * 1024 * 1024
_UPLOAD_ID = re.compile("[0-9A-Za-z_-]{16,64}")
_UPLOAD = "upload"  # where a dataset's summary says which upload it was made of
_SHOWN_EQUAL = 3

Header = pb.UploadDatasetRequest.Header


@dataclass(frozen=True)
class _Begun:
    """A dataset that is being made."""

    wanted: Wanted
    dataset_id: str
    split: SplitSpec
    parent: Parent | None
    encoding: str
    asked: Asked
    modality: str
    upload: str = ""


class Uploads:
    """Turns uploads and sources into registered datasets; safe to share between threads."""

    def __init__(
        self,
        datasets: DatasetStore,
        blobs: BlobStore,
        ingestor: Ingestor,
        sources: Sources,
        spool: UploadSpool,
        limits: ArchiveLimits,
        *,
        max_archive_bytes: int,
    ) -> None:
        self._datasets = datasets
        self._sources = sources
        self._spool = spool
        self._blobs = blobs
        self._ingestor = ingestor
        self._limits = limits
        self._max_archive_bytes = max_archive_bytes

    def receive(self, principal: str, check_client: Callable[[], None]) -> Receiver[pb.UploadDatasetRequest, Dataset]:
        """Read one upload and register its dataset; one with an id that breaks off can go on where it stopped."""
        header = _header((yield))
        name = _upload_name(principal, header.upload_id, "header.upload_id") if header.upload_id else ""
        if name and (made := self._made_before(header, name)) is not None:
            return made
        begun = self._begun(header, name)
        with self._spool.receiving(name, _offset(header), header.committed_sha256, check_client) as upload:
            yield from self._written(upload)

            def check_going_on() -> None:
                check_client()
                upload.check_not_taken()

            return self._made(begun, self._received(begun, upload.content), "", principal, check_going_on)

    def kept(self, request: pb.QueryUploadRequest, principal: str) -> pb.QueryUploadResponse:
        """Return the received size of a principal's upload; raise UploadNotFound."""
        kept = self._spool.kept(_upload_name(principal, request.upload_id, "upload_id"))
        return pb.QueryUploadResponse(committed_size=kept.size_bytes, expire_time=timestamp(kept.expires_at))

    def register(
        self, request: pb.RegisterDatasetRequest, principal: str, check_going_on: Callable[[], None]
    ) -> Dataset:
        """Read the data at a URL and register it as a dataset; raise the errors of `Sources`.

        A repeated request with an id returns the first one's dataset.
        """
        request_id = check_request_id(request.request_id)
        name = f"{principal}/request {request_id}" if request_id is not None else ""
        if name and (made := self._made_before(request, name)) is not None:
            return made
        source = self._sources.find(request.uri)
        begun = self._begun(request, name)
        with self._blobs.temporary_file() as file:
            files = self._sources.fetch(source, file)
            received = Received(Format.ARCHIVE, files) if files is not None else self._received(begun, file)
            return self._made(begun, received, source.uri, principal, check_going_on)

    def _received(self, begun: _Begun, file: IO[bytes]) -> Received:
        """Return the form of a file: a table, or an archive of files."""
        if (form := format_of(file)) is not Format.ARCHIVE:
            return Received(form, table=file)
        return Received(Format.ARCHIVE, read_archive(file, self._limits, begun.encoding))

    def _begun(self, wanted: Wanted, upload: str = "") -> _Begun:
        """Check the conditions that do not depend on the files."""
        dataset_id, split = check_id(wanted.dataset_id, "dataset_id"), _split(wanted.split)
        parent = self._parent(wanted)
        self._datasets.check_free(dataset_id)
        return _Begun(
            wanted,
            dataset_id,
            parent.manifest.split if parent is not None else split,
            parent,
            encoding=check_encoding(wanted.file_name_encoding),
            asked=read_asked(wanted, parent),
            modality=check_modality(wanted, parent),
            upload=upload_key(upload) if upload else "",
        )

    def _made_before(self, wanted: Wanted, upload: str) -> Dataset | None:
        """Return the dataset that was made of this very upload or request: its answer was lost on the way."""
        try:
            dataset = self._datasets.get(check_id(wanted.dataset_id, "dataset_id"))
        except DatasetNotFound:
            return None
        is_made_of_it = dataset.summary.get(_UPLOAD) == upload_key(upload)
        return dataset if is_made_of_it and dataset.deleted_at is None else None

    def _made(
        self, begun: _Begun, received: Received, uri: str, principal: str, check_going_on: Callable[[], None]
    ) -> Dataset:
        """Register the dataset of the received data for a principal.

        With `reuse`, an existing dataset of equal content is the answer; without it, the new dataset gets a remark.
        """
        modality, received = modality_of(begun.modality, received, begun.asked)
        ingested = self._ingestor.ingest(
            modality,
            received,
            begun.split,
            check_going_on,
            asked=begun.asked,
            parent=begun.parent,
        )
        check_going_on()
        equal = self._datasets.living_of_digest(ingested.digest)
        if equal and begun.wanted.reuse:
            return equal[0]
        return self._datasets.register(_record(begun, ingested, uri, equal), principal=principal)

    def _parent(self, wanted: Wanted) -> Parent | None:
        """Return the dataset to append to; raise DatasetNotFound, or InvalidInput if splits are to be assigned anew."""
        if not wanted.parent:
            return None
        if wanted.HasField("split"):
            raise InvalidInput.of("split", "must be unset where there is a parent: its rows stay where they are")
        parent = self._datasets.living(parse_dataset(wanted.parent, "parent"))
        return Parent(parent.name, read_manifest(self._blobs, parent.digest), parent.summary)

    def _written(self, upload: SpooledUpload) -> Receiver[pb.UploadDatasetRequest, None]:
        """Write all chunks to the upload; raise InvalidInput unless it then has the digest that follows them."""
        while (message := (yield)) is not None:
            if message.WhichOneof("part") != "chunk":
                _check_end(message, upload.sha256)
                if (yield) is not None:
                    raise InvalidInput.of("sha256", "must be the last message")
                return
            if len(message.chunk) > MAX_CHUNK_BYTES:
                raise InvalidInput.of("chunk", f"must have at most {MAX_CHUNK_BYTES} bytes, not {len(message.chunk)}")
            if upload.size_bytes + len(message.chunk) > self._max_archive_bytes:
                raise StorageFull(f"the archive is over the limit of {self._max_archive_bytes} bytes: split it")
            upload.write(message.chunk)
        raise UploadUnfinished.of("sha256", "is missing: the last message must hold the digest of the archive")


def _upload_name(principal: str, upload_id: str, field: str) -> str:
    """Return the name of an upload, which differs between principals; raise InvalidInput for a wrong id."""
    if not _UPLOAD_ID.fullmatch(upload_id):
        raise InvalidInput.of(field, "must be 16 to 64 of `A-Z`, `a-z`, `0-9`, `_` and `-`, such as a random UUID")
    return f"{principal}/{upload_id}"


def _header(message: pb.UploadDatasetRequest | None) -> Header:
    if message is None or message.WhichOneof("part") != "header":
        raise InvalidInput.of("header", "is missing: the first message must hold it")
    return message.header


def _offset(header: Header) -> int:
    """Return where the chunks begin; raise InvalidInput where that says nothing."""
    if header.write_offset < 0:
        raise InvalidInput.of("header.write_offset", "must be at least 0")
    if header.write_offset and not header.upload_id:
        raise InvalidInput.of("header.write_offset", "must be 0 without an upload_id: nothing was kept")
    if header.write_offset and not DIGEST.fullmatch(header.committed_sha256):
        text = "must be the SHA-256 of the bytes before write_offset, 64 lower-case hexadecimal digits"
        raise InvalidInput.of("header.committed_sha256", text)
    return header.write_offset


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
        packs=manifest.packs,
        num_rows=len(manifest.rows),
        size_bytes=ingested.size_bytes,
        summary={**ingested.summary, "remarks": remarks, "uri": uri, _UPLOAD: begun.upload},
        parent_id=parse_dataset(begun.parent.name, "parent") if begun.parent is not None else None,
        created_at=datetime.now(UTC),
    )
