"""Opens the blob store that a URL names."""

from __future__ import annotations

from pathlib import Path

from model_store.blobs import BlobStore
from model_store.errors import InvalidInput
from model_store.local_blobs import LocalBlobs

_FILE = "file://"


def open_blobs(url: str, *, cache: Path, cache_bytes: int) -> BlobStore:  # noqa: ARG001
    """Open a folder (a path, or file://…); raise InvalidInput for a URL that names no store."""
    if "://" in url.removeprefix(_FILE):
        raise InvalidInput.of("blobs_url", f"must be a folder or file:///FOLDER, not {url}")
    return LocalBlobs(Path(url.removeprefix(_FILE)).expanduser())
