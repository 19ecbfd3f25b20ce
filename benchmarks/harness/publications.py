"""Publications of made-up and large models, rows of many versions, and what they take of memory."""

from __future__ import annotations

import gc
import os
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import torch
from sqlalchemy import insert

from model_store.architectures import Head, build
from model_store.blobs import StoredBlob
from model_store.database.engine import Database
from model_store.manifests import Manifest, ManifestStage
from model_store.registry.models import ModelStore
from model_store.tables import ModelRow, StageRow, VersionMetricRow, VersionRow
from model_store.tasks import Classification
from model_store.tensors.stages import write_stage
from model_store.transactions.publication import Publication

GIGABYTE = 1_000_000_000

Tensors = dict[str, torch.Tensor]

Stages = dict[str, Tensors]


def small(store: ModelStore, model: str, seed: int) -> Publication:
    """Store a backbone that all share and a head of its own."""
    generators = {"backbone": torch.Generator().manual_seed(0), "head": torch.Generator().manual_seed(seed)}
    stages = {name: {"weight": torch.randn(64, 64, generator=each)} for name, each in generators.items()}
    return publication({name: write_stage(store.blobs, tensors) for name, tensors in stages.items()}, model)


def publication(stored: Mapping[str, StoredBlob], model: str) -> Publication:
    """Return a publication of blobs that are stored."""
    stages = tuple(ManifestStage(name, blob.digest) for name, blob in stored.items())
    manifest = Manifest("any", {}, stages, {"kind": "image"}, Classification(("a", "b")), {"kind": "linear"}, 1)
    new = [blob.digest for blob in stored.values() if blob.added_bytes]
    return Publication(model, manifest, new_digests=new)


def resnet50() -> Stages:
    """Return a ResNet-50 of random weights."""
    chain = build("resnet50", {}, Head("linear", 1000))
    chain.load_state_dict_torchvision(random_state(chain.state_dict_torchvision(), 0))
    return {name: chain.stage_tensors(name) for name in chain.stage_names}


def random_state(tensors: Tensors, seed: int) -> Tensors:
    """Return random tensors of the same names, shapes and dtypes."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(tensor.shape, generator=generator)
        if tensor.is_floating_point()
        else torch.zeros(tensor.shape, dtype=tensor.dtype)
        for name, tensor in tensors.items()
    }


def vit_like(num_bytes: int) -> Iterator[tuple[str, Tensors]]:
    """Yield the encoder layers of a vision transformer 1,792 wide, 154 MB each, until so many bytes are reached."""
    width, generator = 1792, torch.Generator().manual_seed(0)
    shapes = {
        "attention.in_proj": (3 * width, width),
        "attention.out_proj": (width, width),
        "mlp.0": (4 * width, width),
        "mlp.3": (width, 4 * width),
    }
    made = 0
    while made < num_bytes:
        layer = {f"{name}.weight": torch.randn(shape, generator=generator) for name, shape in shapes.items()}
        made += sum(tensor.nbytes for tensor in layer.values())
        yield f"layer_{made // 1_000_000}", layer


def touch(tensors: Tensors) -> None:
    """Bring every page of the tensors into memory."""
    for tensor in tensors.values():
        tensor.reshape(-1).view(torch.uint8)[::4096].sum()


def forget(paths: list[Path]) -> None:
    """Drop files from the page cache: the next read comes from the disk."""
    for path in paths:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@contextmanager
def peak_memory() -> Iterator[list[int]]:
    """Give a list that gets, at the end, the bytes by which resident memory exceeded what it was at the start."""
    peak: list[int] = []
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew: proc(5)
    before = resident("VmRSS")
    yield peak
    peak.append(resident("VmHWM") - before)


def resident(key: str) -> int:
    """Return the bytes that the process has in memory, by a key of /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))


def insert_versions(database: Database, model: str, count: int) -> None:
    """Insert rows as publishing would, without blobs: a listing reads none."""
    now, digest = datetime.now(UTC), "0" * 64
    model_values = {"id": model, "last_number": count, "is_purged": False, "description": "", "revision": 1}
    version = {
        "model_id": model, "manifest_digest": digest, "architecture": "resnet18", "modality": "image",
        "task": "classification", "num_outputs": 10, "recipe": {},
        "seed": 0, "added_bytes": 1, "description": "", "revision": 1, "created_at": now, "updated_at": now,
    }  # fmt: skip
    stage = {"model_id": model, "digest": digest, "size_bytes": 1}
    with database.write() as session:
        session.execute(insert(ModelRow).values(**model_values, created_at=now, updated_at=now))
        for start in range(1, count + 1, 5000):
            numbers = range(start, min(start + 5000, count + 1))
            session.execute(insert(VersionRow), [{**version, "number": number} for number in numbers])
            stages = [
                {**stage, "number": number, "position": position, "name": f"stage{position}"}
                for number in numbers
                for position in range(6)
            ]
            session.execute(insert(StageRow), stages)
            metrics = [
                {"model_id": model, "number": number, "name": "accuracy", "value": random.random()}
                for number in numbers
            ]
            session.execute(insert(VersionMetricRow), metrics)
