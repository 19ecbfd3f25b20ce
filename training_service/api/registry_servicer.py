"""The registry over gRPC: maas.model_store.v1.ModelStoreService."""
# ruff: noqa: ARG002  the RPCs have gRPC's names and arguments

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import grpc
from google.protobuf.empty_pb2 import Empty
from maas.model_store.v1 import model_store_pb2 as pb
from maas.model_store.v1 import model_store_pb2_grpc as pb_grpc

from grpc_runtime.principals import current_principal
from model_store import names
from model_store.database.paging import PageRequest
from model_store.errors import InvalidInput
from model_store.records.changes import Change
from model_store.records.resources import ModelVersion
from model_store.registry.models import ModelStore
from model_store.transactions.changes import ChangeFeed
from training_service.api import registry_convert as convert
from training_service.api import registry_requests as requests
from training_service.api.change_notifier import ChangeNotifier
from training_service.api.client_streams import Receiver, in_threads
from training_service.api.registry_streams import blob_messages, receive_version
from training_service.evaluation.comparing import compared_rows
from training_service.threads import CallThreads

Context = grpc.aio.ServicerContext[Any, Any]
_Changed = TypeVar("_Changed")


class ModelStoreServicer(pb_grpc.ModelStoreServiceServicer):
    """Serves the store; every call of it blocks, so it runs on a thread."""

    def __init__(
        self,
        store: ModelStore,
        feed: ChangeFeed,
        notifier: ChangeNotifier,
        threads: CallThreads,
        max_sizes: Mapping[str, int],
    ) -> None:
        """`max_sizes` bounds the examples that come with a version, by modality in the unit of each."""
        self._store = store
        self._max_sizes = max_sizes
        self._feed = feed
        self._notifier = notifier
        self._threads = threads

    async def CreateModel(self, request: pb.CreateModelRequest, context: Context) -> pb.Model:
        """Create a model without versions."""
        model_id = names.check_id(request.model_id, "model_id")
        notes = requests.notes(request.model, "model")
        return convert.model_message(await self._write(self._store.create_model, model_id, notes))

    async def GetModel(self, request: pb.GetModelRequest, context: Context) -> pb.Model:
        """Get one model."""
        model_id = names.parse_model(request.name, "name")
        return convert.model_message(await self._threads.reads.run(self._store.get_model, model_id))

    async def ListModels(self, request: pb.ListModelsRequest, context: Context) -> pb.ListModelsResponse:
        """List models."""
        page = await self._threads.reads.run(self._store.list_models, requests.list_request(request))
        models = [convert.model_message(model) for model in page.items]
        return pb.ListModelsResponse(models=models, next_page_token=page.next_token)

    async def UpdateModel(self, request: pb.UpdateModelRequest, context: Context) -> pb.Model:
        """Change a model's description or tags."""
        model_id = names.parse_model(request.model.name, "model.name")
        change = requests.notes_change(request.model, request.update_mask, "model")
        model = await self._write(self._store.update_model, model_id, change, request.model.etag or None)
        return convert.model_message(model)

    async def DeleteModel(self, request: pb.DeleteModelRequest, context: Context) -> pb.Model:
        """Hide a model."""
        model_id = names.parse_model(request.name, "name")
        model = await self._write(self._store.delete_model, model_id, force=request.force, etag=request.etag or None)
        return convert.model_message(model)

    async def UndeleteModel(self, request: pb.UndeleteModelRequest, context: Context) -> pb.Model:
        """Bring a deleted model back."""
        model_id = names.parse_model(request.name, "name")
        return convert.model_message(await self._write(self._store.undelete_model, model_id))

    async def GetModelVersion(self, request: pb.GetModelVersionRequest, context: Context) -> pb.ModelVersion:
        """Get one version, by number or by alias."""
        target = requests.version_or_alias(request.name, "name")
        return await self._threads.slow.run(self._read_version, target)

    async def ListModelVersions(
        self, request: pb.ListModelVersionsRequest, context: Context
    ) -> pb.ListModelVersionsResponse:
        """List the versions of one model."""
        model_id = names.parse_model(request.parent, "parent")
        page = await self._threads.reads.run(self._store.list_versions, model_id, requests.list_request(request))
        versions = [convert.version_message(version) for version in page.items]
        return pb.ListModelVersionsResponse(model_versions=versions, next_page_token=page.next_token)

    async def UpdateModelVersion(self, request: pb.UpdateModelVersionRequest, context: Context) -> pb.ModelVersion:
        """Change a version's description or tags."""
        name = names.parse_version(request.model_version.name, "model_version.name")
        change = requests.notes_change(request.model_version, request.update_mask, "model_version")
        etag = request.model_version.etag or None
        version = await self._write(self._store.update_version, name, change, etag)
        return await self._threads.slow.run(self._message, version)

    async def DeleteModelVersion(self, request: pb.DeleteModelVersionRequest, context: Context) -> pb.ModelVersion:
        """Hide a version."""
        name = names.parse_version(request.name, "name")
        version = await self._write(self._store.delete_version, name, request.etag or None)
        return convert.version_message(version)

    async def UndeleteModelVersion(self, request: pb.UndeleteModelVersionRequest, context: Context) -> pb.ModelVersion:
        """Bring a deleted version back."""
        name = names.parse_version(request.name, "name")
        version = await self._write(self._store.undelete_version, name)
        return await self._threads.slow.run(self._message, version)

    async def FindMissingBlobs(
        self,
        request: pb.FindMissingBlobsRequest,
        context: Context,
    ) -> pb.FindMissingBlobsResponse:
        """Say which blobs the store lacks."""
        wanted = requests.digests(request.digests, "digests", at_least=1)
        missing = await self._threads.slow.run(self._store.blobs.missing, wanted)
        return pb.FindMissingBlobsResponse(missing_digests=missing)

    async def PublishModelVersion(
        self,
        request_iterator: AsyncIterator[pb.PublishModelVersionRequest],
        context: Context,
    ) -> pb.ModelVersion:
        """Register a version made elsewhere."""
        publish = partial(self._publish, current_principal())
        return await in_threads(self._threads.uploads, publish, request_iterator)

    async def DownloadModelVersion(
        self,
        request: pb.DownloadModelVersionRequest,
        context: Context,
    ) -> AsyncIterator[pb.DownloadModelVersionResponse]:
        """Send a version's manifest and blobs."""
        target = requests.version_or_alias(request.name, "name")
        known = set(requests.digests(request.known_digests, "known_digests", at_least=0))
        version = await self._threads.reads.run(lambda: self._store.get_version(self._store.resolve(target)))
        yield pb.DownloadModelVersionResponse(version=await self._threads.slow.run(self._message, version))
        # Not closed here: where the caller goes, a thread may still read. The last reference closes the file.
        messages = blob_messages(version, self._store.blobs, known)
        while (message := await self._threads.slow.run(next, messages, None)) is not None:
            yield message

    async def CompareModelVersions(
        self,
        request: pb.CompareModelVersionsRequest,
        context: Context,
    ) -> pb.CompareModelVersionsResponse:
        """Return the differences from one version to another."""
        first, second = (requests.version_or_alias(getattr(request, field), field) for field in ("first", "second"))
        return await self._threads.slow.run(self._compare, first, second)

    async def GetLineage(self, request: pb.GetLineageRequest, context: Context) -> pb.LineageGraph:
        """Return the ancestors and descendants of a resource."""
        name, limits = names.parse_origin(request.name, "name"), requests.lineage_limits(request)
        return convert.lineage_graph_message(await self._threads.reads.run(self._store.lineage, name, **limits))

    async def GetAlias(self, request: pb.GetAliasRequest, context: Context) -> pb.Alias:
        """Get one alias."""
        name = names.parse_alias(request.name, "name")
        return convert.alias_message(await self._threads.reads.run(self._store.get_alias, name))

    async def SetAlias(self, request: pb.SetAliasRequest, context: Context) -> pb.Alias:
        """Point an alias at a version."""
        name = names.parse_alias(request.name, "name")
        version = names.parse_version(request.version, "version")
        note, traffic = requests.alias_note(request), requests.traffic(request, name.model_id)
        alias = await self._write(self._store.set_alias, name, version, traffic, **note)
        return convert.alias_message(alias)

    async def RollBackAlias(self, request: pb.RollBackAliasRequest, context: Context) -> pb.Alias:
        """Point an alias back at the version before."""
        name, note = names.parse_alias(request.name, "name"), requests.alias_note(request)
        alias = await self._write(self._store.roll_back_alias, name, **note)
        return convert.alias_message(alias)

    async def DeleteAlias(self, request: pb.DeleteAliasRequest, context: Context) -> Empty:
        """Delete an alias."""
        name, note = names.parse_alias(request.name, "name"), requests.alias_note(request)
        await self._write(self._store.delete_alias, name, **note)
        return Empty()

    async def ListAliasHistory(
        self,
        request: pb.ListAliasHistoryRequest,
        context: Context,
    ) -> pb.ListAliasHistoryResponse:
        """List the history of an alias, newest first."""
        name = names.parse_alias(request.parent, "parent")
        page_request = PageRequest(request.page_size, request.page_token)
        page = await self._threads.reads.run(self._store.list_alias_history, name, page_request)
        moves = [convert.move_message(move) for move in page.items]
        return pb.ListAliasHistoryResponse(moves=moves, next_page_token=page.next_token)

    async def WatchChanges(self, request: pb.WatchChangesRequest, context: Context) -> AsyncIterator[pb.Change]:
        """Follow every write to the registry."""
        if request.after_sequence < 0:
            raise InvalidInput.of("after_sequence", f"must be at least 0, not {request.after_sequence}")
        given = request.HasField("after_sequence")
        sequence = request.after_sequence if given else await self._threads.reads.run(self._feed.newest)
        # From here on no change is missed: who waits for this knows, and can begin again from there.
        await context.send_initial_metadata((("maas-after-sequence", str(sequence)),))
        changes: Sequence[Change] | None = None
        while True:
            if changes is None:
                changes = await self._threads.reads.run(self._feed.after, sequence)
            for change in changes:
                sequence = change.sequence
                if _is_within(change.resource, request.resource):
                    yield convert.change_message(change)
            changes = await self._notifier.after(sequence)

    async def _write(self, change: Callable[..., _Changed], *arguments: object, **options: object) -> _Changed:
        """Change the store on behalf of the call's principal."""
        return await self._threads.writes.run(change, *arguments, **options, principal=current_principal())

    def _read_version(self, target: names.AliasName | names.VersionName) -> pb.ModelVersion:
        name = target if isinstance(target, names.VersionName) else self._store.resolve(target)
        return self._message(self._store.get_version(name))

    def _publish(
        self, principal: str, check_client: Callable[[], None]
    ) -> Receiver[pb.PublishModelVersionRequest, pb.ModelVersion]:
        publication = yield from receive_version(check_client, self._store.blobs, self._max_sizes)
        return self._message(self._store.publish(replace(publication, principal=principal)))

    def _compare(
        self, first: names.AliasName | names.VersionName, second: names.AliasName | names.VersionName
    ) -> pb.CompareModelVersionsResponse:
        versions = self._store.resolve(first), self._store.resolve(second)
        found, rows = self._store.compare(*versions), compared_rows(self._store, *versions)
        return convert.comparison_message(*versions, found, rows)

    def _message(self, version: ModelVersion) -> pb.ModelVersion:
        base = version.lineage.base
        base_digest = self._store.get_version(base).manifest_digest if base is not None else ""
        return convert.version_message(version, self._store.manifest(version), base_digest)


def _is_within(resource: str, wanted: str) -> bool:
    return not wanted or resource == wanted or resource.startswith(f"{wanted}/")
