"""Carry versions between stores that no network joins, as files; the services are asked over the wire alone."""

from __future__ import annotations

import hashlib
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from maas.model_store.v1 import model_store_pb2

from maas_client.calls.registry import RegistryCalls
from maas_client.errors import FailedPrecondition, NotFound
from maas_client.files.version_archive import VersionArchive, opened_archive, write_archive
from maas_client.typed.shorthand import alias_name, model_name, model_of
from maas_client.wire.sending import Header, send
from maas_client.wire.streams import responses
from model_store.extras import require

if TYPE_CHECKING:
    from torch import Tensor

    from model_store.blobs.local import LocalBlobs

PROGRAMS = ("torch-export", "onnx", "huggingface")
OnBytes = Callable[[int], object]
_Chunks = Iterator[model_store_pb2.DownloadModelVersionResponse.BlobChunk]


def export_archive(client: RegistryCalls, version: model_store_pb2.ModelVersion, path: Path, on_bytes: OnBytes) -> None:
    """Write a version to a file that `import_archive` reads; `on_bytes` is told of bytes of blobs received.

    The file appears whole or not at all, and equal versions make equal files. No blob is ever held in memory.
    """
    chunks = _download(client, version, on_bytes)
    with _appearing(path) as file:
        write_archive(file, version, chunks)


def export_torchvision(
    client: RegistryCalls, version: model_store_pb2.ModelVersion, path: Path, on_bytes: OnBytes
) -> None:
    """Write a version's tensors by torchvision's names: as safetensors where the file is named so, else by torch.save.

    torchvision's model of as many classes loads them strictly; raises FailedPrecondition where it has no such head.
    """
    require("server", "an export for torchvision")
    from model_store.bases.catalogue import native_head
    from model_store.manifests import Manifest

    head = Manifest.from_json(version.manifest_json.encode()).head
    if head["kind"] not in {"none", native_head(version.architecture, 1).kind}:
        raise FailedPrecondition(
            f"{version.name} has a {head['kind']} head, which torchvision's {version.architecture} has not: "
            "export it as an archive"
        )
    from model_store.tensors.stages import read_stages

    with _blobs(_download(client, version, on_bytes)) as blobs:
        stages = read_stages(blobs, [stage.digest for stage in version.stages])
    tensors = {name: tensor for stage in version.stages for name, tensor in stages[stage.digest].items()}
    with _appearing(path) as file:
        _save(tensors, file, as_safetensors=path.suffix == ".safetensors")


def export_program(
    client: RegistryCalls, version: model_store_pb2.ModelVersion, path: Path, kind: str, on_bytes: OnBytes
) -> None:
    """Write a version as a program of a kind in `PROGRAMS`, and beside it `FILE.json`, which says how rows are made.

    The file appears once it was loaded again and answered as the version does; raises FailedPrecondition else.
    """
    for extra in ("server", *(["onnx"] if kind == "onnx" else [])):
        require(extra, f"an export as {kind}")
    from maas_client.transfers.exported_programs import WRITERS, assembled, write_description

    with _blobs(_download(client, version, on_bytes)) as blobs:
        whole = assembled(version, blobs)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=path.parent) as folder:
        written = Path(folder) / path.name
        WRITERS[kind](whole, written)
        written.replace(path)
    write_description(whole, version.name, path)


def import_archive(
    client: RegistryCalls,
    path: Path,
    *,
    model: str = "",
    alias: str = "",
    actor: str = "",
    on_bytes: OnBytes = lambda _: None,
) -> model_store_pb2.ModelVersion:
    """Register the version in an archive as the next one of a model, by default of the model that it was of.

    `on_bytes` is told of every byte twice: when it was checked, and when it was sent or need not be. Importing again
    after a failure sends what is missing; after a success it changes nothing, except to point the alias there.
    Raises InvalidArchive, before anything is sent, where the file is not an archive and whole.
    """
    with opened_archive(path, on_bytes) as archive:
        parent = model_name(model) if model else model_of(archive.version.name)
        header = _header(archive, parent, _base(client, archive))
        header.alias, header.actor = alias_name(parent, alias) if alias else "", actor
        version = send(client.stubs.registry, client.retries(), header, archive.blobs, archive.chunks, on_bytes)
    if version.state == model_store_pb2.RESOURCE_STATE_DELETED:
        raise FailedPrecondition(f"{version.name} is what was imported from {path}, and was deleted: undelete it first")
    if alias and alias_name(parent, alias) not in version.aliases:
        client.set_alias(parent, alias, version.name, actor=actor)
        version = client.version(version.name)
    return version


def _download(client: RegistryCalls, version: model_store_pb2.ModelVersion, on_bytes: OnBytes) -> _Chunks:
    """Yield a version's blobs; the call is made at once."""
    request = model_store_pb2.DownloadModelVersionRequest(name=version.name)
    stream = responses(partial(client.stubs.registry.DownloadModelVersion, request))
    next(stream)

    def chunks() -> _Chunks:
        for message in stream:
            on_bytes(len(message.blob_chunk.data))
            yield message.blob_chunk

    return chunks()


@contextmanager
def _appearing(path: Path) -> Iterator[IO[bytes]]:
    """Write a file that appears under its name once it is whole and on the disk; after an error there is none."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _blobs(chunks: _Chunks) -> Iterator[LocalBlobs]:
    from model_store.blobs.local import LocalBlobs

    with tempfile.TemporaryDirectory(prefix="maas-export-") as folder:
        blobs = LocalBlobs(Path(folder))
        for digest, parts in groupby(chunks, key=lambda chunk: chunk.digest):
            blobs.put((part.data for part in parts), digest)
        yield blobs


def _save(tensors: dict[str, Tensor], file: IO[bytes], *, as_safetensors: bool) -> None:
    import torch
    from safetensors.torch import save

    if as_safetensors:
        file.write(save(tensors))
    else:
        torch.save(tensors, file)


def _header(archive: VersionArchive, parent: str, base: str) -> Header:
    """Return what is said of the version: what was said before, and where it was."""
    version, lineage = archive.version, archive.version.lineage
    content = hashlib.sha256(f"{parent}\n{archive.digest}".encode()).hexdigest()
    header = Header(
        parent=parent,
        manifest_json=archive.manifest.to_json().decode(),
        base=base,
        recipe=lineage.recipe,
        request_id=f"import-{content}",
        metrics=version.metrics if version.HasField("metrics") else None,
        metric_values=version.metric_values,
        calibration=version.calibration if version.HasField("calibration") else None,
        description=version.description,
        tags=version.tags,
        seed=lineage.seed,
    )
    origin: dict[str, Any] = {"name": version.name, "manifest_digest": version.manifest_digest}
    given = {"base": lineage.base, "dataset": lineage.dataset, "training_job": lineage.training_job}
    origin |= {field: name for field, name in given.items() if name}
    if "imported_from" in lineage.recipe:
        origin["imported_from"] = lineage.recipe["imported_from"]
    header.recipe["imported_from"] = origin
    return header


def _base(client: RegistryCalls, archive: VersionArchive) -> str:
    """Return the base's name where this store has the very same version under it, else an empty one."""
    lineage = archive.version.lineage
    if not lineage.base:
        return ""
    try:
        base = client.version(lineage.base)
    except NotFound:
        return ""
    is_same = base.manifest_digest == lineage.base_manifest_digest
    return base.name if is_same and base.state == model_store_pb2.RESOURCE_STATE_ACTIVE else ""
