"""Upload a dataset with a progress bar."""

from __future__ import annotations

from pathlib import Path

from maas.training.v1 import training_pb2

from maas_client.client import Client
from maas_client.failures import CommandFailed
from maas_client.progress import byte_bar


def upload(
    client: Client, path: Path, dataset_id: str, seed: int | None = None, parent: str = ""
) -> training_pb2.Dataset:
    """Upload a folder or archive; raise CommandFailed where there is nothing to upload."""
    total = _num_bytes(path)
    if total == 0:
        raise CommandFailed(f"{path} holds no files: it needs one sub-folder of images for each label")
    with byte_bar(f"uploading {path.name}", total, then="checking the images") as advance:
        return client.upload_dataset(dataset_id, path, split=split_spec(seed), parent=parent, on_sent=advance)


def split_spec(seed: int | None) -> training_pb2.SplitSpec | None:
    """Return how to deal by a seed; what is appended is dealt as its parent was, and so has none."""
    return training_pb2.SplitSpec(seed=seed) if seed is not None else None


def _num_bytes(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())
