"""Opens the blob store that a URL names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from model_store.blobs import BlobStore
from model_store.blobs.local import LocalBlobs
from model_store.home_folder import expanded

if TYPE_CHECKING:
    from model_store.blobs.remote_files import RemoteFolder

_FILE = "file://"
_S3 = {"s3", "s3a"}
_OBJECT_STORES = {"abfs", "abfss", "az", "gcs", "gs", "oci", "oss", "tos"}


def open_blobs(url: str, *, cache: Path, cache_bytes: int) -> BlobStore:
    """Open a folder (a path, or file://…), or a remote store with local copies of at most `cache_bytes`.

    A remote store is any URL of fsspec: s3://BUCKET/PREFIX, gs://…, sftp://…. No request is sent yet. Raises
    InvalidInput for another URL, and for a URL whose library is not installed.
    """
    scheme, separator, _ = url.partition("://")
    if not separator or scheme == "file":
        return LocalBlobs(expanded(Path(url.removeprefix(_FILE)), "MAAS_BLOBS_URL"))
    # Late: a store on a disk needs neither, and importing fsspec takes longer than everything else here.
    from model_store.blobs.cache import BlobCache  # noqa: PLC0415
    from model_store.blobs.remote import RemoteBlobs  # noqa: PLC0415

    return RemoteBlobs(remote_folder(url), BlobCache(cache, cache_bytes))


def remote_folder(url: str) -> RemoteFolder:
    """Open the files below a URL that fsspec opens; raise InvalidInput, as `open_blobs` does. Nothing is asked yet."""
    from model_store.blobs.remote_files import ObjectFolder, RemoteFolder  # noqa: PLC0415
    from model_store.blobs.s3_files import S3Folder  # noqa: PLC0415

    scheme = url.partition("://")[0]
    kind = S3Folder if scheme in _S3 else ObjectFolder if scheme in _OBJECT_STORES else RemoteFolder
    return kind(url)
