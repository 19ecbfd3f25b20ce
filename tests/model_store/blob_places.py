"""The same blob store in each place that it can be, and how to damage a blob there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from model_store.blobs import BlobStore
from model_store.blobs.local import LocalBlobs
from model_store.blobs.remote import RemoteBlobs, _name
from model_store.blobs.urls import open_blobs

CACHE_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class Place:
    """A blob store, and a way to write other bytes over its own copy of a blob."""

    blobs: BlobStore
    overwrite: Callable[[str, bytes], None]

    def forget(self, digest: str) -> None:
        """Drop this machine's copy of a remote blob."""
        if isinstance(self.blobs, RemoteBlobs):
            self.blobs._cache.drop(digest)


def local_place(folder: Path) -> Place:
    """Open a store on the disk."""
    blobs = LocalBlobs(folder / "blobs")

    def overwrite(digest: str, data: bytes) -> None:
        blobs.path(digest).chmod(0o644)
        blobs.path(digest).write_bytes(data)

    return Place(blobs, overwrite)


def remote_blobs(url: str, folder: Path, cache_bytes: int = CACHE_BYTES) -> RemoteBlobs:
    """Open a remote store with a cache below this folder."""
    blobs = open_blobs(url, cache=folder / "cache", cache_bytes=cache_bytes)
    assert isinstance(blobs, RemoteBlobs)
    return blobs


def remote_place(url: str, folder: Path) -> Place:
    """Open a store at a URL, and a cache below this folder."""
    blobs = remote_blobs(url, folder)

    def overwrite(digest: str, data: bytes) -> None:
        files, root = blobs._folder._connected()
        files.pipe_file(f"{root}/{_name(digest)}", data)

    return Place(blobs, overwrite)
