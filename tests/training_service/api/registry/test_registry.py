"""The registry over the wire: publish, look up, move aliases, and refuse what does not fit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import torch
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from maas.model_store.v1 import model_store_pb2 as pb

from maas_client.client import Client
from maas_client.transfers.publish import publish_base
from model_store.bases.catalogue import LoadedBase, load_random
from model_store.manifests import Manifest, ManifestStage
from model_store.registry.models import ModelStore
from model_store.tensors.stages import write_stage
from tests.training_service.registry_running import RunningRegistry, running_registry

ARCHITECTURE = "squeezenet1_1"


@pytest.fixture(scope="module")
def base() -> LoadedBase:
    """A small network with random weights."""
    return load_random(ARCHITECTURE, seed=0)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[RunningRegistry]:
    """A server on an empty store."""
    with running_registry(tmp_path) as running:
        yield running


@pytest.fixture
def client(registry: RunningRegistry) -> Client:
    """A client of it."""
    return registry.client


@pytest.fixture
def store(registry: RunningRegistry) -> ModelStore:
    """The store behind it."""
    return registry.store


def test_a_published_base_is_read_back(client: Client, base: LoadedBase, store: ModelStore) -> None:
    """A base goes over the wire stage by stage and comes back with its lineage and its manifest."""
    version = publish_base(client, "squeezenet", base, alias="production")
    assert version.name == "models/squeezenet/versions/1"
    assert version.architecture == ARCHITECTURE
    assert [stage.name for stage in version.stages] == list(base.chain.stage_names)
    assert version.lineage.recipe["source"] == "random"
    assert list(version.aliases) == ["models/squeezenet/aliases/production"]
    assert client.version("squeezenet@production") == client.version("squeezenet/1")
    assert Manifest.from_json(version.manifest_json.encode()).digest == version.manifest_digest
    assert version.added_bytes == version.size_bytes + len(version.manifest_json)
    assert store.blobs.has(version.manifest_digest)


def test_only_missing_blobs_are_sent(client: Client, base: LoadedBase) -> None:
    """Publishing the same base again sends nothing and adds nothing."""
    first = publish_base(client, "squeezenet", base)
    digests = [stage.digest for stage in first.stages]
    request = pb.FindMissingBlobsRequest(digests=[*digests, "0" * 64])
    assert list(client.registry.FindMissingBlobs(request).missing_digests) == ["0" * 64]
    second = publish_base(client, "squeezenet", base)
    assert (second.name, second.added_bytes) == ("models/squeezenet/versions/2", 0)


def test_aliases_move_and_roll_back_over_the_wire(client: Client, base: LoadedBase) -> None:
    """SetAlias with an etag, RollBackAlias, and the history of both."""
    for _ in range(2):
        publish_base(client, "squeezenet", base)
    name, one, two = ("models/squeezenet/" + rest for rest in ("aliases/live", "versions/1", "versions/2"))
    read = client.registry.SetAlias(pb.SetAliasRequest(name=name, version=one, actor="ann"))
    client.registry.SetAlias(pb.SetAliasRequest(name=name, version=two, etag=read.etag, reason="better"))
    with _fails(grpc.StatusCode.ABORTED, "was changed meanwhile"):
        client.registry.SetAlias(pb.SetAliasRequest(name=name, version=one, etag=read.etag))
    assert client.registry.RollBackAlias(pb.RollBackAliasRequest(name=name)).version == one
    assert [move.to_version for move in client.alias_history("squeezenet", "live")] == [one, two, one]
    with _fails(grpc.StatusCode.FAILED_PRECONDITION, "no earlier version"):
        client.registry.RollBackAlias(pb.RollBackAliasRequest(name=name))


def test_versions_come_in_pages(client: Client, base: LoadedBase) -> None:
    """Tokens lead through the listing; a token of another one is refused."""
    for _ in range(3):
        publish_base(client, "squeezenet", base)
    request = pb.ListModelVersionsRequest(parent="models/squeezenet", page_size=2)
    first = client.registry.ListModelVersions(request)
    request.page_token = first.next_page_token
    second = client.registry.ListModelVersions(request)
    assert [version.name[-1] for version in (*first.model_versions, *second.model_versions)] == ["3", "2", "1"]
    with _fails(grpc.StatusCode.INVALID_ARGUMENT, "page_token"):
        client.registry.ListModels(pb.ListModelsRequest(page_token=first.next_page_token))


@pytest.mark.parametrize(
    ("call", "request_", "code", "text"),
    [
        ("GetModel", pb.GetModelRequest(name="models/nowhere"), "NOT_FOUND", "models/nowhere"),
        ("GetModel", pb.GetModelRequest(name="models/../x"), "INVALID_ARGUMENT", "name"),
        ("GetModel", pb.GetModelRequest(), "INVALID_ARGUMENT", "name"),
        ("GetModelVersion", pb.GetModelVersionRequest(name="models/a"), "INVALID_ARGUMENT", "name"),
        ("GetModelVersion", pb.GetModelVersionRequest(name="models/a/versions/1"), "NOT_FOUND", "models/a"),
        ("ListModels", pb.ListModelsRequest(page_size=-1), "INVALID_ARGUMENT", "page_size"),
        ("ListModelVersions", pb.ListModelVersionsRequest(parent="models/a"), "NOT_FOUND", "models/a"),
        ("FindMissingBlobs", pb.FindMissingBlobsRequest(), "INVALID_ARGUMENT", "digests"),
        ("FindMissingBlobs", pb.FindMissingBlobsRequest(digests=["x"]), "INVALID_ARGUMENT", r"digests\[0\]"),
        ("SetAlias", pb.SetAliasRequest(name="models/a/aliases/A"), "INVALID_ARGUMENT", "name"),
        (
            "RollBackAlias",
            pb.RollBackAliasRequest(name="models/a/aliases/b", reason="\0"),
            "INVALID_ARGUMENT",
            "reason",
        ),
        (
            "RollBackAlias",
            pb.RollBackAliasRequest(name="models/a/aliases/b", actor="x" * 201),
            "INVALID_ARGUMENT",
            "201",
        ),
        ("RollBackAlias", pb.RollBackAliasRequest(name="models/a/aliases/b"), "NOT_FOUND", "models/a"),
        ("ListAliasHistory", pb.ListAliasHistoryRequest(parent="models/a"), "INVALID_ARGUMENT", "parent"),
    ],
)
def test_bad_requests_are_answered_with_their_field(
    client: Client, call: str, request_: object, code: str, text: str
) -> None:
    """Each wrong request has its code, and INVALID_ARGUMENT carries google.rpc.BadRequest."""
    with pytest.raises(grpc.RpcError, match=text) as caught:
        getattr(client.registry, call)(request_)
    assert caught.value.code().name == code
    if code == "INVALID_ARGUMENT":
        assert _violations(caught.value)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"architecture": {"name": "nonet", "arguments": {}}}, "nonet"),
        ({"task": {"kind": "classification", "labels": ["a"]}}, "task must name 3 outputs"),
        ({"head": {"kind": "linear", "outputs": -1, "activation": "softmax"}}, "outputs"),
        ({"input_spec": {"kind": "image"}}, "missing"),
        ({"stages": [{"name": "stem", "digest": "0" * 64}]}, "must be stem"),
        ({"format": 9}, "format"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(client: Client, change: dict[str, object], text: str) -> None:
    """The field is named, and nothing is registered."""
    manifest = _manifest(load_random(ARCHITECTURE, 0, num_labels=3), "1" * 64)
    header = pb.PublishModelVersionRequest.Header(parent="models/a", manifest_json=_changed(manifest, change))
    with _fails(grpc.StatusCode.INVALID_ARGUMENT, text) as caught:
        client.registry.PublishModelVersion(iter([pb.PublishModelVersionRequest(header=header)]))
    assert _violations(caught.value) == ["header.manifest_json"]
    assert list(client.models()) == []


def test_blobs_that_were_never_sent_are_named(client: Client, base: LoadedBase) -> None:
    """A version appears whole or not at all."""
    header = pb.PublishModelVersionRequest.Header(
        parent="models/a", manifest_json=_manifest(base, "1" * 64).to_json().decode()
    )
    with _fails(grpc.StatusCode.FAILED_PRECONDITION, "neither stored nor sent: 1111"):
        client.registry.PublishModelVersion(iter([pb.PublishModelVersionRequest(header=header)]))


def test_damaged_and_foreign_blobs_are_refused(client: Client, base: LoadedBase, store: ModelStore) -> None:
    """Bytes that do not have their digest, and a digest that the manifest does not name."""
    header = pb.PublishModelVersionRequest.Header(
        parent="models/a", manifest_json=_manifest(base, "1" * 64).to_json().decode()
    )
    for digest, text in (("1" * 64, "send them again"), ("2" * 64, "not the digest of a stage")):
        chunk = pb.PublishModelVersionRequest.BlobChunk(digest=digest, data=b"damaged")
        messages = [pb.PublishModelVersionRequest(header=header), pb.PublishModelVersionRequest(blob_chunk=chunk)]
        with _fails(grpc.StatusCode.INVALID_ARGUMENT, text):
            client.registry.PublishModelVersion(iter(messages))
    with _fails(grpc.StatusCode.INVALID_ARGUMENT, "header"):
        client.registry.PublishModelVersion(iter(messages[1:]))
    assert not store.blobs.has("1" * 64)


def test_tensors_of_another_architecture_are_refused(client: Client, base: LoadedBase, store: ModelStore) -> None:
    """Names, shapes and dtypes are held to the architecture before anything is registered."""
    digest = write_stage(store.blobs, {"features.0.weight": torch.zeros(3)}).digest
    header = pb.PublishModelVersionRequest.Header(
        parent="models/a", manifest_json=_manifest(base, digest).to_json().decode()
    )
    with _fails(grpc.StatusCode.INVALID_ARGUMENT, "stem"):
        client.registry.PublishModelVersion(iter([pb.PublishModelVersionRequest(header=header)]))
    assert list(client.models()) == []


def test_an_unknown_fault_is_answered_without_its_text(client: Client, store: ModelStore) -> None:
    """Nothing internal reaches a caller: a request id is all."""
    store.list_models = lambda _: 1 / 0  # type: ignore[method-assign,assignment]
    with pytest.raises(grpc.RpcError, match="request id") as caught:
        client.registry.ListModels(pb.ListModelsRequest())
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "division" not in caught.value.details()


def _manifest(base: LoadedBase, digest: str) -> Manifest:
    stages = tuple(ManifestStage(name, digest) for name in base.chain.stage_names)
    return base.manifest(stages)


def _changed(manifest: Manifest, change: dict[str, object]) -> str:
    return json.dumps({**json.loads(manifest.to_json()), **change})


def _fails(code: grpc.StatusCode, text: str):  # type: ignore[no-untyped-def]  # noqa: ANN202
    return pytest.raises(grpc.RpcError, match=rf"(?s)StatusCode\.{code.name}.*{text}")


def _violations(error: grpc.RpcError) -> list[str]:
    status = rpc_status.from_call(error)
    detail = error_details_pb2.BadRequest()
    assert status is not None
    assert status.details[0].Unpack(detail)
    return [violation.field for violation in detail.field_violations]
