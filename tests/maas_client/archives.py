"""Small archives of versions that the tests read, whole ones and hostile ones."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from maas.model_store.v1 import model_store_pb2 as pb

from maas_client.files.version_archive import write_archive
from model_store.manifests import Manifest, ManifestStage
from model_store.tasks import Classification

BLOBS = (b"first stage", b"second stage " * 100_000)
DIGESTS = tuple(hashlib.sha256(data).hexdigest() for data in BLOBS)
Chunk = pb.DownloadModelVersionResponse.BlobChunk


def version(**more: object) -> pb.ModelVersion:
    """Return a version of two blobs, the first of which is two stages."""
    order = (0, 1, 0)
    stages = tuple(ManifestStage(f"stage{position}", DIGESTS[blob]) for position, blob in enumerate(order))
    task, head = Classification(("a", "ü")), {"kind": "linear", "outputs": 2}
    manifest = Manifest("tiny", {}, stages, {"kind": "image"}, task, head, embedding_size=4)
    made = pb.ModelVersion(
        name="models/flowers/versions/3",
        manifest_digest=manifest.digest,
        manifest_json=manifest.to_json().decode(),
        stages=[
            pb.Stage(name=stage.name, digest=stage.digest, size_bytes=len(BLOBS[blob]))
            for stage, blob in zip(stages, order, strict=True)
        ],
        metrics=pb.Metrics(split="test", values={"accuracy": 1 / 3}),
        metric_values={"accuracy": 1 / 3},
        lineage=pb.Lineage(base="models/base/versions/1", base_manifest_digest="0" * 64, seed=2**60),
        tags={"b": "2", "a": "1"},
        **more,
    )
    made.create_time.seconds = 1_700_000_000
    made.lineage.recipe.update({"name": "full", "rate": 0.1})
    return made


def chunks(*blobs: bytes, size: int = 1_000_000) -> Iterator[Chunk]:
    """Yield blobs as a service sends them."""
    for data in blobs:
        for start in range(0, len(data), size):
            yield Chunk(digest=hashlib.sha256(data).hexdigest(), data=data[start : start + size])


def archive_of(message: pb.ModelVersion) -> bytes:
    """Return a whole archive."""
    file = io.BytesIO()
    write_archive(file, message, chunks(*BLOBS))
    return file.getvalue()


def members_of(data: bytes) -> dict[str, bytes]:
    """Return what is in an archive, by tarfile's own reader."""
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]


def summed(members: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return members with checksums that are right for them."""
    rest = {name: data for name, data in members.items() if name != "SHA256SUMS"}
    lines = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in rest.items())
    return {**rest, "SHA256SUMS": lines.encode()}


def changed_json(data: bytes, **change: object) -> bytes:
    """Return a JSON object with other values."""
    return json.dumps(
        {**json.loads(data), **change}, sort_keys=True, separators=(",", ":"), ensure_ascii=False
    ).encode()


def files_below(folder: Path) -> list[str]:
    """Return the names of the files in a folder, and those that a name with dots would have made beside it."""
    return sorted(str(path.relative_to(folder.parent)) for path in folder.parent.rglob("*") if path.is_file())
