"""The registry over gRPC: maas.model_store.v1.ModelStoreService."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from itertools import groupby
from typing import Any

import grpc
from google.protobuf.json_format import MessageToDict
from maas.model_store.v1 import model_store_pb2 as pb
from maas.model_store.v1 import model_store_pb2_grpc as pb_grpc

from model_store import names
from model_store.blobs import BlobStore
from model_store.errors import InvalidInput, InvalidManifest, Violation
from model_store.manifest_checks import check_manifest
from model_store.manifests import DIGEST, Manifest
from model_store.paging import PageRequest
from model_store.records import Lineage, ModelVersion
from model_store.store import ModelStore, Publication
from training_service.publishing import check_publishable
from training_service.registry_convert import alias_message, model_message, move_message, version_message
from training_service.streams import IncomingStream, in_thread
from training_service.violations import Violations, check_text

_MAX_DIGESTS = 10_000
_MAX_REASON, _MAX_ACTOR, _MAX_REQUEST_ID = 1000, 200, 128
Context = grpc.aio.ServicerContext[Any, Any]


class ModelStoreServicer(pb_grpc.ModelStoreServiceServicer):
    """Serves the store; every call of it blocks, so it runs on a thread."""

    def __init__(self, store: ModelStore, threads: Executor) -> None:
        """Take the threads in which streams are received, each for as long as its client sends."""
        self._store = store
        self._threads = threads

    async def GetModel(self, request: pb.GetModelRequest, context: Context) -> pb.Model:  # noqa: ARG002
        """Get one model."""
        model_id = names.parse_model(request.name, "name")
        return model_message(await asyncio.to_thread(self._store.get_model, model_id))

    async def ListModels(self, request: pb.ListModelsRequest, context: Context) -> pb.ListModelsResponse:  # noqa: ARG002
        """List models by id."""
        page = await asyncio.to_thread(self._store.list_models, PageRequest(request.page_size, request.page_token))
        return pb.ListModelsResponse(
            models=[model_message(model) for model in page.items], next_page_token=page.next_token
        )

    async def GetModelVersion(self, request: pb.GetModelVersionRequest, context: Context) -> pb.ModelVersion:  # noqa: ARG002
        """Get one version, by number or by alias."""
        target = names.parse_target(request.name, "name")
        if isinstance(target, names.ModelName):
            raise InvalidInput.of("name", "must name a version or an alias, such as models/flowers/versions/3")
        return await asyncio.to_thread(self._read_version, target)

    async def ListModelVersions(
        self,
        request: pb.ListModelVersionsRequest,
        context: Context,  # noqa: ARG002
    ) -> pb.ListModelVersionsResponse:
        """List the versions of one model, newest first."""
        model_id = names.parse_model(request.parent, "parent")
        return await asyncio.to_thread(
            self._list_versions, model_id, PageRequest(request.page_size, request.page_token)
        )

    async def FindMissingBlobs(
        self,
        request: pb.FindMissingBlobsRequest,
        context: Context,  # noqa: ARG002
    ) -> pb.FindMissingBlobsResponse:
        """Say which blobs the store lacks."""
        _check_digests(request.digests)
        has = self._store.blobs.has
        missing = await asyncio.to_thread(lambda: [digest for digest in request.digests if not has(digest)])
        return pb.FindMissingBlobsResponse(missing_digests=missing)

    async def PublishModelVersion(
        self,
        request_iterator: AsyncIterator[pb.PublishModelVersionRequest],
        context: Context,  # noqa: ARG002
    ) -> pb.ModelVersion:
        """Register a version made elsewhere."""
        return await in_thread(self._threads, self._receive_version, request_iterator)

    async def SetAlias(self, request: pb.SetAliasRequest, context: Context) -> pb.Alias:  # noqa: ARG002
        """Point an alias at a version."""
        name = names.parse_alias(request.name, "name")
        version = names.parse_version(request.version, "version")
        expected = (
            names.parse_version(request.expected_version, "expected_version") if request.expected_version else None
        )
        _check_texts(reason=(request.reason, _MAX_REASON), actor=(request.actor, _MAX_ACTOR))
        alias = await asyncio.to_thread(
            self._store.set_alias,
            name,
            version,
            actor=request.actor,
            reason=request.reason,
            expected=expected,
        )
        return alias_message(alias)

    async def RollBackAlias(self, request: pb.RollBackAliasRequest, context: Context) -> pb.Alias:  # noqa: ARG002
        """Point an alias back at the version before."""
        name = names.parse_alias(request.name, "name")
        _check_texts(reason=(request.reason, _MAX_REASON), actor=(request.actor, _MAX_ACTOR))
        alias = await asyncio.to_thread(self._store.roll_back_alias, name, actor=request.actor, reason=request.reason)
        return alias_message(alias)

    async def ListAliasMoves(self, request: pb.ListAliasMovesRequest, context: Context) -> pb.ListAliasMovesResponse:  # noqa: ARG002
        """List the history of an alias, newest first."""
        name = names.parse_alias(request.parent, "parent")
        page = await asyncio.to_thread(
            self._store.list_alias_moves, name, PageRequest(request.page_size, request.page_token)
        )
        return pb.ListAliasMovesResponse(
            moves=[move_message(move) for move in page.items], next_page_token=page.next_token
        )

    def _read_version(self, target: names.AliasName | names.VersionName) -> pb.ModelVersion:
        return self._message(self._store.get_version(self._store.resolve(target)))

    def _list_versions(self, model_id: str, request: PageRequest) -> pb.ListModelVersionsResponse:
        page = self._store.list_versions(model_id, request)
        return pb.ListModelVersionsResponse(
            versions=[self._message(version) for version in page.items], next_page_token=page.next_token
        )

    def _receive_version(self, stream: IncomingStream[pb.PublishModelVersionRequest]) -> pb.ModelVersion:
        messages = iter(stream)
        first = next(messages, None)
        if first is None or first.WhichOneof("part") != "header":
            raise InvalidInput.of("header", "must come in the first message")
        with _named_as_field():
            publication = _publication(first.header)
            check_manifest(publication.manifest)
        wanted = {stage.digest for stage in publication.manifest.stages}
        added = _store_blobs((_chunk(message, wanted) for message in messages), self._store.blobs)
        with _named_as_field():
            check_publishable(publication.manifest, self._store.blobs)
        stream.check_client()
        return self._message(self._store.publish(publication.with_new_digests(added)))

    def _message(self, version: ModelVersion) -> pb.ModelVersion:
        return version_message(version, self._store.manifest(version))


@contextmanager
def _named_as_field() -> Iterator[None]:
    """Say in which field of the request a manifest that does not fit was."""
    try:
        yield
    except InvalidManifest as error:
        raise InvalidInput.of("header.manifest_json", str(error)) from error


def _store_blobs(chunks: Iterable[pb.PublishModelVersionRequest.BlobChunk], blobs: BlobStore) -> set[str]:
    """Store blobs that come one after the other, each verified against its digest; return those that were new."""
    each_blob = groupby(chunks, key=lambda chunk: chunk.digest)
    stored = [blobs.put((part.data for part in parts), digest) for digest, parts in each_blob]
    return {blob.digest for blob in stored if blob.added_bytes}


def _chunk(message: pb.PublishModelVersionRequest, wanted: set[str]) -> pb.PublishModelVersionRequest.BlobChunk:
    if message.WhichOneof("part") != "blob_chunk":
        raise InvalidInput.of("blob_chunk", "must be in every message after the first")
    if message.blob_chunk.digest not in wanted:
        raise InvalidInput.of("blob_chunk.digest", "is not the digest of a stage in the manifest")
    return message.blob_chunk


def _publication(header: pb.PublishModelVersionRequest.Header) -> Publication:
    _check_texts(**{"header.request_id": (header.request_id, _MAX_REQUEST_ID)})
    base = names.parse_version(header.base, "header.base") if header.base else None
    return Publication(
        model_id=names.parse_model(header.parent, "header.parent"),
        manifest=Manifest.from_json(header.manifest_json.encode()),
        lineage=Lineage(base=base, recipe=MessageToDict(header.recipe)),
        alias=names.check_id(header.alias, "header.alias") if header.alias else None,
        actor="PublishModelVersion",
        request_id=header.request_id or None,
    )


def _check_digests(digests: Any) -> None:  # noqa: ANN401  a repeated field
    if not 1 <= len(digests) <= _MAX_DIGESTS:
        raise InvalidInput.of("digests", f"must be 1 to {_MAX_DIGESTS} digests, not {len(digests)}")
    wrong = [
        Violation(f"digests[{index}]", "must be 64 lower-case hexadecimal digits")
        for index, digest in enumerate(digests)
        if not DIGEST.fullmatch(digest)
    ]
    if wrong:
        raise InvalidInput(*wrong[:100])


def _check_texts(**texts: tuple[str, int]) -> None:
    violations = Violations()
    for field, (text, limit) in texts.items():
        with violations.collected():
            check_text(text, field, limit)
    violations.raise_any()
