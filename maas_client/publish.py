"""Publish a base from this machine: its stages become blobs, and only those the store lacks are sent."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from maas.model_store.v1 import model_store_pb2

from maas_client.client import Client
from maas_client.shorthand import model_name
from model_store.bases import LoadedBase
from model_store.blobs import BlobStore
from model_store.local_blobs import LocalBlobs
from model_store.manifests import Manifest, ManifestStage
from model_store.stages import write_stages

_CHUNK_BYTES = 2 * 1024 * 1024


def publish_base(
    client: Client,
    model: str,
    base: LoadedBase,
    *,
    alias: str = "",
) -> model_store_pb2.ModelVersion:
    """Register a base as the next version of `model` and return the version."""
    with tempfile.TemporaryDirectory(prefix="maas-publish-") as folder:
        blobs = LocalBlobs(Path(folder))
        manifest = _manifest(base, blobs)
        digests = list(dict.fromkeys(stage.digest for stage in manifest.stages))
        request = model_store_pb2.FindMissingBlobsRequest(digests=digests)
        missing = client.registry.FindMissingBlobs(request).missing_digests
        header = _header(model, manifest, base.origin, alias)
        return client.registry.PublishVersion(_messages(header, blobs, missing))


def _manifest(base: LoadedBase, blobs: BlobStore) -> Manifest:
    stored = write_stages(blobs, {name: base.chain.stage_tensors(name) for name in base.chain.stage_names})
    return Manifest(
        architecture=base.architecture,
        arguments=base.arguments,
        stages=tuple(ManifestStage(name, blob.digest) for name, blob in stored.items()),
        input_spec=base.input_spec.to_json(),
        labels=tuple(base.labels),
        head=base.head.to_json(),
    )


def _header(
    model: str, manifest: Manifest, origin: Mapping[str, str], alias: str
) -> model_store_pb2.PublishVersionRequest:
    header = model_store_pb2.PublishVersionRequest.Header(
        parent=model_name(model),
        manifest_json=manifest.to_json().decode(),
        alias=alias,
        request_id=uuid.uuid4().hex,
    )
    header.recipe.update({"name": "import", **origin})
    return model_store_pb2.PublishVersionRequest(header=header)


def _messages(
    header: model_store_pb2.PublishVersionRequest,
    blobs: BlobStore,
    missing: Iterable[str],
) -> Iterator[model_store_pb2.PublishVersionRequest]:
    yield header
    for digest in missing:
        with blobs.open(digest) as file:
            while data := file.read(_CHUNK_BYTES):
                chunk = model_store_pb2.PublishVersionRequest.BlobChunk(digest=digest, data=data)
                yield model_store_pb2.PublishVersionRequest(blob_chunk=chunk)
