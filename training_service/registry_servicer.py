"""maas.model_store.v1.ModelStoreService: the registry over gRPC.

The store blocks, so it is called in threads. Every refusal is a domain error, which the server maps to a code.
"""
# ruff: noqa: ARG002  the RPCs have gRPC's names and arguments

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Executor
from typing import Any

import grpc
from maas.model_store.v1 import model_store_pb2 as pb
from maas.model_store.v1 import model_store_pb2_grpc

from model_store.errors import InvalidInput, Violation
from model_store.manifests import DIGEST
from model_store.names import AliasName, VersionName, parse_alias, parse_model, parse_target, parse_version
from model_store.paging import PageRequest
from model_store.records import ModelVersion
from model_store.store import ModelStore
from training_service import registry_convert as convert
from training_service.publications import Publications
from training_service.streams import in_thread
from training_service.violations import Violations, check_text

MAX_DIGESTS = 10_000
MAX_REASON = 1000
MAX_ACTOR = 200
Context = grpc.aio.ServicerContext[Any, Any]


class RegistryServicer(model_store_pb2_grpc.ModelStoreServiceServicer):
    """Answers from the model store."""

    def __init__(self, store: ModelStore, publications: Publications, publish_threads: Executor) -> None:
        self._store = store
        self._publications = publications
        self._publish_threads = publish_threads

    async def GetModel(self, request: pb.GetModelRequest, context: Context) -> pb.Model:
        """Return one model."""
        model_id = parse_model(request.name, "name")
        return convert.model_message(await asyncio.to_thread(self._store.get_model, model_id))

    async def ListModels(self, request: pb.ListModelsRequest, context: Context) -> pb.ListModelsResponse:
        """Return a page of models by id."""
        page = await asyncio.to_thread(self._store.list_models, PageRequest(request.page_size, request.page_token))
        models = [convert.model_message(model) for model in page.items]
        return pb.ListModelsResponse(models=models, next_page_token=page.next_token)

    async def GetModelVersion(self, request: pb.GetModelVersionRequest, context: Context) -> pb.ModelVersion:
        """Return one version, by number or by alias."""
        return await asyncio.to_thread(self._get_version, request)

    async def ListModelVersions(
        self, request: pb.ListModelVersionsRequest, context: Context
    ) -> pb.ListModelVersionsResponse:
        """Return a page of a model's versions, newest first."""
        return await asyncio.to_thread(self._list_versions, request)

    async def FindMissingBlobs(
        self, request: pb.FindMissingBlobsRequest, context: Context
    ) -> pb.FindMissingBlobsResponse:
        """Return those of the digests that the store lacks."""
        _check_digests(request.digests)
        return await asyncio.to_thread(self._find_missing, request)

    async def PublishModelVersion(
        self, messages: AsyncIterator[pb.PublishModelVersionRequest], context: Context
    ) -> pb.ModelVersion:
        """Receive a version and register it."""
        version = await in_thread(self._publish_threads, self._publications.receive, messages)
        return await asyncio.to_thread(self._message, version)

    async def SetAlias(self, request: pb.SetAliasRequest, context: Context) -> pb.Alias:
        """Point an alias at a version."""
        return await asyncio.to_thread(self._set_alias, request)

    async def RollBackAlias(self, request: pb.RollBackAliasRequest, context: Context) -> pb.Alias:
        """Point an alias back at the version before its last move."""
        return await asyncio.to_thread(self._roll_back_alias, request)

    async def ListAliasMoves(self, request: pb.ListAliasMovesRequest, context: Context) -> pb.ListAliasMovesResponse:
        """Return a page of an alias's moves, newest first."""
        name = parse_alias(request.parent, "parent")
        page_request = PageRequest(request.page_size, request.page_token)
        page = await asyncio.to_thread(self._store.list_alias_moves, name, page_request)
        moves = [convert.move_message(move) for move in page.items]
        return pb.ListAliasMovesResponse(moves=moves, next_page_token=page.next_token)

    def _get_version(self, request: pb.GetModelVersionRequest) -> pb.ModelVersion:
        target = parse_target(request.name, "name")
        if not isinstance(target, VersionName | AliasName):
            raise InvalidInput.of("name", "must name a version or an alias: models/{model}/versions/{number}, say")
        return self._message(self._store.get_version(self._store.resolve(target)))

    def _list_versions(self, request: pb.ListModelVersionsRequest) -> pb.ListModelVersionsResponse:
        page_request = PageRequest(request.page_size, request.page_token)
        page = self._store.list_versions(parse_model(request.parent, "parent"), page_request)
        versions = [self._message(version) for version in page.items]
        return pb.ListModelVersionsResponse(versions=versions, next_page_token=page.next_token)

    def _find_missing(self, request: pb.FindMissingBlobsRequest) -> pb.FindMissingBlobsResponse:
        missing = [digest for digest in request.digests if not self._store.blobs.has(digest)]
        return pb.FindMissingBlobsResponse(missing_digests=missing)

    def _set_alias(self, request: pb.SetAliasRequest) -> pb.Alias:
        name, version = AliasName("", ""), VersionName("", 0)
        expected, violations = None, _text_violations(request)
        with violations.collected():
            name = parse_alias(request.name, "name")
        with violations.collected():
            version = parse_version(request.version, "version")
        with violations.collected():
            expected = parse_version(request.expected_version, "expected_version") if request.expected_version else None
        violations.raise_any()
        alias = self._store.set_alias(name, version, actor=request.actor, reason=request.reason, expected=expected)
        return convert.alias_message(alias)

    def _roll_back_alias(self, request: pb.RollBackAliasRequest) -> pb.Alias:
        _text_violations(request).raise_any()
        name = parse_alias(request.name, "name")
        return convert.alias_message(self._store.roll_back_alias(name, actor=request.actor, reason=request.reason))

    def _message(self, version: ModelVersion) -> pb.ModelVersion:
        return convert.version_message(version, self._store.manifest(version))


def _text_violations(request: pb.SetAliasRequest | pb.RollBackAliasRequest) -> Violations:
    violations = Violations()
    with violations.collected():
        check_text(request.reason, "reason", MAX_REASON)
    with violations.collected():
        check_text(request.actor, "actor", MAX_ACTOR)
    return violations


def _check_digests(digests: Sequence[str]) -> None:
    if not 1 <= len(digests) <= MAX_DIGESTS:
        raise InvalidInput.of("digests", f"must be 1 to {MAX_DIGESTS} digests, not {len(digests)}")
    rule = "must be 64 lower-case hexadecimal digits"
    wrong = [index for index, digest in enumerate(digests) if not DIGEST.fullmatch(digest)]
    if wrong:
        raise InvalidInput(*(Violation(f"digests[{index}]", rule) for index in wrong[:100]))
