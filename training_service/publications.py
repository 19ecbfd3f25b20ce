"""Receives a version that was made elsewhere: a header, then the blobs that the store lacks; all of it is checked."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from google.protobuf.json_format import MessageToDict
from maas.model_store.v1 import model_store_pb2 as pb

from model_store.architectures import Head, build_stage, check_stage_tensors, stage_names
from model_store.blobs import BlobStore
from model_store.errors import IllegalState, InvalidInput, InvalidManifest
from model_store.inputs import ImageInputSpec
from model_store.manifests import Manifest
from model_store.names import check_id, parse_model, parse_version
from model_store.records import Lineage, ModelVersion
from model_store.stages import read_stage
from model_store.store import ModelStore, Publication
from training_service.streams import IncomingStream
from training_service.violations import Violations, check_request_id

MAX_CHUNK_BYTES = 3 * 1024 * 1024
_MAX_RECIPE_BYTES = 64 * 1024
# What a safetensors file has beside the tensors' own bytes.
_MAX_HEADER_BYTES = 1024 * 1024


@dataclass(frozen=True)
class _Header:
    """What is to be published, checked as far as the manifest alone allows."""

    model_id: str
    manifest: Manifest
    head: Head
    lineage: Lineage
    alias: str | None
    request_id: str | None


class Publications:
    """Turns publish streams into registered versions; safe to share between streams."""

    def __init__(self, store: ModelStore) -> None:
        self._store = store

    def receive(self, stream: IncomingStream[pb.PublishModelVersionRequest]) -> ModelVersion:
        """Read one publication and register it; one that breaks off leaves at most blobs that nothing names.

        Raises InvalidInput or InvalidManifest where a blob does not fit, IllegalState where one is missing.
        """
        messages = iter(stream)
        header = _header(next(messages, None))
        new_digests = self._receive_blobs(messages, header)
        self._check_blobs(header)
        stream.check_client()
        return self._store.publish(
            Publication(
                model_id=header.model_id,
                manifest=header.manifest,
                lineage=header.lineage,
                alias=header.alias,
                actor="PublishModelVersion",
                new_digests=new_digests,
                request_id=header.request_id,
            )
        )

    def _receive_blobs(self, messages: Iterable[pb.PublishModelVersionRequest], header: _Header) -> set[str]:
        """Store each blob that is sent; return the digests that are new."""
        names = {stage.digest: stage.name for stage in header.manifest.stages}
        new = set()
        for digest, chunks in groupby(map(_blob_chunk, messages), key=lambda chunk: chunk.digest):
            if digest not in names:
                raise InvalidInput.of("blob_chunk.digest", f"{digest[:80]!r} is not the digest of one of its stages")
            most = _most_bytes(header, names[digest])
            stored = self._store.blobs.put(_limited(chunks, most, names[digest]), digest)
            if stored.added_bytes:
                new.add(digest)
        return new

    def _check_blobs(self, header: _Header) -> None:
        blobs: BlobStore = self._store.blobs
        if missing := [stage for stage in header.manifest.stages if not blobs.has(stage.digest)]:
            names = ", ".join(f"{stage.digest} ({stage.name})" for stage in missing)
            raise IllegalState(f"blobs are neither stored nor sent: {names}; send them, as FindMissingBlobs says")
        for stage in header.manifest.stages:
            forms = {name: (each.shape, each.dtype) for name, each in read_stage(blobs, stage.digest).items()}
            manifest = header.manifest
            check_stage_tensors(manifest.architecture, manifest.arguments, header.head, stage.name, forms)


def _header(message: pb.PublishModelVersionRequest | None) -> _Header:
    if message is None or message.WhichOneof("part") != "header":
        raise InvalidInput.of("header", "is missing: the first message must hold it")
    header, violations = message.header, Violations()
    model_id, base, recipe = "", None, {}
    with violations.collected():
        model_id = parse_model(header.parent, "header.parent")
    with violations.collected():
        base = parse_version(header.base, "header.base") if header.base else None
    with violations.collected():
        check_id(header.alias or "none", "header.alias")
    with violations.collected():
        check_request_id(header.request_id)
    with violations.collected():
        recipe = _recipe(header)
    violations.raise_any()
    manifest = Manifest.from_json(header.manifest_json.encode())
    head = _checked_head(manifest)
    lineage = Lineage(base=base, recipe=recipe)
    return _Header(model_id, manifest, head, lineage, header.alias or None, header.request_id or None)


def _checked_head(manifest: Manifest) -> Head:
    """Return the manifest's head; raise InvalidManifest unless stages, labels and input spec fit the architecture."""
    head = Head.from_json(manifest.head)
    names = stage_names(manifest.architecture, manifest.arguments, head)
    found = tuple(stage.name for stage in manifest.stages)
    if found != names:
        raise InvalidManifest(f"stages of {manifest.architecture} must be {', '.join(names)}, not {', '.join(found)}")
    if len(manifest.labels) != head.num_labels:
        raise InvalidManifest(f"labels must be {head.num_labels}, as head.num_labels says, not {len(manifest.labels)}")
    ImageInputSpec.from_json(manifest.input_spec)
    return head


def _recipe(header: pb.PublishModelVersionRequest.Header) -> dict[str, Any]:
    recipe: dict[str, Any] = MessageToDict(header.recipe)
    if len(json.dumps(recipe)) > _MAX_RECIPE_BYTES:
        raise InvalidInput.of("header.recipe", f"must have at most {_MAX_RECIPE_BYTES} bytes as JSON")
    return recipe


def _blob_chunk(message: pb.PublishModelVersionRequest) -> pb.PublishModelVersionRequest.BlobChunk:
    if message.WhichOneof("part") != "blob_chunk":
        raise InvalidInput.of("blob_chunk", "must be in every message after the first")
    if len(message.blob_chunk.data) > MAX_CHUNK_BYTES:
        raise InvalidInput.of("blob_chunk.data", f"must have at most {MAX_CHUNK_BYTES} bytes")
    return message.blob_chunk


def _limited(chunks: Iterable[pb.PublishModelVersionRequest.BlobChunk], most: int, stage: str) -> Iterator[bytes]:
    size = 0
    for chunk in chunks:
        size += len(chunk.data)
        if size > most:
            raise InvalidInput.of("blob_chunk.data", f"the blob of stage {stage!r} has more bytes than its tensors can")
        yield chunk.data


def _most_bytes(header: _Header, stage: str) -> int:
    manifest = header.manifest
    module = build_stage(manifest.architecture, manifest.arguments, header.head, stage)
    sizes = (each.numel() * each.element_size() for each in module.state_dict().values())
    return _MAX_HEADER_BYTES + int(sum(sizes))
