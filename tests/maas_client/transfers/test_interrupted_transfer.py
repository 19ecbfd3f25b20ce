"""Imports that break, archives that are damaged, and exports that fail."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from maas.model_store.v1 import model_store_pb2 as pb

from maas_client.files.version_archive import InvalidArchive
from tests.maas_client.archives import members_of, summed
from tests.maas_client.transfers.counting import Counted
from tests.training_service.making import tar_of
from tests.training_service.registry_running import RunningRegistry
from tests.training_service.running import refused, until


def test_an_import_that_broke_goes_on(
    here: RunningRegistry, there: RunningRegistry, flowers: pb.ModelVersion, tmp_path: Path
) -> None:
    """What had arrived whole is not sent again, and the version is there once."""
    here.client.export(flowers.name, tmp_path / "flowers")
    call = there.client.stubs.registry.PublishModelVersion
    digests = list(dict.fromkeys(stage.digest for stage in flowers.stages))
    arrived, cut = digests[:2], digests[2]

    def broken(messages: Iterator[pb.PublishModelVersionRequest]) -> pb.ModelVersion:
        def until_the_third_blob() -> Iterator[pb.PublishModelVersionRequest]:
            for message in messages:
                if message.blob_chunk.digest != cut:
                    yield message
                    continue
                message.blob_chunk.data = message.blob_chunk.data[:100]
                yield message
                until(lambda: all(there.blobs.has(digest) for digest in arrived))
                raise ConnectionResetError

        return call(until_the_third_blob())

    there.client.stubs.registry.PublishModelVersion = broken
    with pytest.raises(grpc.RpcError):
        there.client.import_archive(tmp_path / "flowers")
    assert list(there.client.models()) == []
    there.client.stubs.registry.PublishModelVersion = call
    counted = Counted(there.client)
    there.client.import_archive(tmp_path / "flowers")
    assert counted.sent == [sum(stage.size_bytes for stage in flowers.stages if stage.digest not in arrived)]
    assert [version.name for version in there.client.versions("flowers")] == ["models/flowers/versions/1"]


@pytest.mark.parametrize("damage", ["cut", "bytes", "more"])
def test_a_damaged_archive_registers_nothing(
    here: RunningRegistry, there: RunningRegistry, flowers: pb.ModelVersion, tmp_path: Path, damage: str
) -> None:
    """Not one blob of it reaches the store."""
    path = tmp_path / "flowers"
    here.client.export(flowers.name, path)
    data = path.read_bytes()
    path.write_bytes(
        {
            "cut": data[:-2000],
            "bytes": data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :],
            "more": tar_of(summed({**members_of(data), "blobs/sha256/../../x": b"x"})),
        }[damage]
    )
    with pytest.raises(InvalidArchive, match=str(path)):
        there.client.import_archive(path)
    assert (list(there.client.models()), list(there.blobs.all())) == ([], [])


def test_an_archive_of_blobs_that_are_no_stages_registers_nothing(
    here: RunningRegistry, there: RunningRegistry, flowers: pb.ModelVersion, tmp_path: Path
) -> None:
    """Checksums that are right do not make a model: the service holds the stages to their architecture."""
    path = tmp_path / "flowers"
    here.client.export(flowers.name, path)
    members, blob = members_of(path.read_bytes()), b"no tensors"
    old, new = flowers.stages[0].digest, hashlib.sha256(blob).hexdigest()
    del members[f"blobs/sha256/{old}"]
    manifest = members["manifest.json"].replace(old.encode(), new.encode())
    version = json.loads(members["version.json"].replace(old.encode(), new.encode()))
    version["manifest_digest"] = hashlib.sha256(manifest).hexdigest()
    version["stages"][0]["size_bytes"] = len(blob)
    changed = {"manifest.json": manifest, "version.json": json.dumps(version).encode(), f"blobs/sha256/{new}": blob}
    path.write_bytes(tar_of(summed({**members, **changed})))
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "safetensors"):
        there.client.import_archive(path)
    assert list(there.client.models()) == []


def test_an_export_that_fails_leaves_no_file(here: RunningRegistry, flowers: pb.ModelVersion, tmp_path: Path) -> None:
    """Neither a part of one nor a temporary one; a file that was there stays as it was."""
    path = tmp_path / "out" / "flowers"
    path.parent.mkdir()
    path.write_bytes(b"older")
    blob = here.blobs.path(flowers.stages[-1].digest)
    blob.chmod(0o600)
    blob.write_bytes(bytes(blob.stat().st_size))
    with refused(grpc.StatusCode.DATA_LOSS, flowers.stages[-1].digest):
        here.client.export(flowers.name, path)
    assert [(each.name, each.read_bytes()) for each in path.parent.iterdir()] == [("flowers", b"older")]


def test_the_same_version_is_exported_to_the_same_file(
    here: RunningRegistry, flowers: pb.ModelVersion, tmp_path: Path
) -> None:
    """Also after its aliases moved, and over an older file; `on_bytes` hears of every byte of the blobs."""
    here.client.export(flowers.name, tmp_path / "first")
    here.client.registry.DeleteAlias(pb.DeleteAliasRequest(name="models/flowers/aliases/production"))
    (tmp_path / "second").write_bytes(b"older")
    told: list[int] = []
    here.client.export(flowers.name, tmp_path / "second", on_bytes=told.append)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
    assert sum(told) == flowers.size_bytes
