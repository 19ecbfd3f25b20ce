"""Objects in S3, or in a store that speaks its protocol, below s3://BUCKET/PREFIX.

Endpoint, credentials and retries of single requests come from AWS's ordinary variables and files (AWS_ENDPOINT_URL,
AWS_ACCESS_KEY_ID, AWS_PROFILE, AWS_MAX_ATTEMPTS and so on).
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import fsspec

from model_store.blobs import UnfinishedBlob
from model_store.blobs.remote_files import ObjectFolder, RemoteFile, seconds
from model_store.errors import InvalidInput, Unavailable
from model_store.extras import remedy
from model_store.hosts import is_this_machine

_PART_BYTES = 8 * 1024 * 1024
_MAX_PARTS = 10_000
_NUM_PARTS_AT_ONCE = 4
_MAX_COPY_BYTES = 5 * 1024**3
_READ_SECONDS = 60
_NUM_TRIES = 3
_UPLOAD = "?uploadId="


class S3Folder(ObjectFolder):
    """Objects below one prefix of a bucket."""

    advice = (
        "that the bucket exists, that AWS_ENDPOINT_URL names the right server, and that the credentials "
        "(AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, or a profile) may list, read, write and delete in it"
    )

    def __init__(self, url: str) -> None:
        """Raise InvalidInput where the library for S3 is not installed."""
        super().__init__(url)
        from aiohttp import ClientError as HttpError  # noqa: PLC0415  installed with s3fs, which is optional
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415
        from s3fs.core import S3_RETRYABLE_ERRORS  # noqa: PLC0415

        self.errors = (OSError, BotoCoreError, ClientError, HttpError)
        self._broken = S3_RETRYABLE_ERRORS
        if not self._key("")["Bucket"]:
            raise InvalidInput.of("blobs_url", f"{url} names no bucket: s3://BUCKET/PREFIX")

    def status(self, name: str) -> RemoteFile | None:
        """Return the entry of an object; None if it does not exist."""
        with self._answering() as (files, _), suppress(FileNotFoundError):
            head = files.call_s3("head_object", **self._key(name))
            return RemoteFile(name.rpartition("/")[2], head["ContentLength"], seconds(head["LastModified"]))
        return None

    def upload(self, file: Path, name: str) -> None:
        """Write an object; a large one in parts, of which no more than a few are in memory."""
        part = max(_PART_BYTES, math.ceil(file.stat().st_size / _MAX_PARTS))
        with self._answering() as (files, root):
            files.put_file(str(file), f"{root}/{name}", chunksize=part, max_concurrency=_NUM_PARTS_AT_ONCE)

    def renew(self, file: RemoteFile, name: str) -> bool:
        """Copy an object onto itself, which the store does by itself."""
        if file.size_bytes > _MAX_COPY_BYTES:
            return False
        with self._answering() as (files, _), suppress(FileNotFoundError):
            key = self._key(name)
            # The store refuses a copy that changes nothing.
            change = {"Metadata": {"renewed-at": str(int(time.time()))}, "MetadataDirective": "REPLACE"}
            files.call_s3("copy_object", **key, CopySource=key, **change)
            return True
        return False

    def download(self, name: str, to: Path) -> bool:
        """Copy an object to a local file; where an answer breaks off, ask again."""
        for _ in range(_NUM_TRIES - 1):
            try:
                return self._download(name, to)
            except Unavailable as error:
                if not isinstance(error.__cause__, self._broken):
                    raise
        return self._download(name, to)

    def unfinished(self) -> Iterator[UnfinishedBlob]:
        """Yield the uploads in parts that were begun, and neither completed nor given up."""
        with self._answering() as (files, _):
            here = self._key("")
            place = {"Bucket": here["Bucket"], "Prefix": here["Key"]}
            for upload in _pages(files, "list_multipart_uploads", "Uploads", ("KeyMarker", "UploadIdMarker"), place):
                with suppress(FileNotFoundError):  # it was completed meanwhile
                    yield self._unfinished(files, upload, upload["Key"].removeprefix(here["Key"]))

    def discard(self, unfinished: UnfinishedBlob) -> None:
        """Give an upload up."""
        name, _, upload = unfinished.id.removeprefix(f"{self.url}/").partition(_UPLOAD)
        with self._answering() as (files, _), suppress(FileNotFoundError):
            files.call_s3("abort_multipart_upload", **self._key(name), UploadId=upload)

    def _unfinished(self, files: Any, upload: dict[str, Any], name: str) -> UnfinishedBlob:  # noqa: ANN401  s3fs has no types
        place = {**self._key(name), "UploadId": upload["UploadId"]}
        parts = list(_pages(files, "list_parts", "Parts", ("PartNumberMarker",), place))
        last = max(seconds(each) for each in (upload["Initiated"], *(part["LastModified"] for part in parts)))
        return UnfinishedBlob(
            f"{self.url}/{name}{_UPLOAD}{upload['UploadId']}", sum(part["Size"] for part in parts), last
        )

    def _download(self, name: str, to: Path) -> bool:
        with self._answering() as (files, root), suppress(FileNotFoundError):
            files.get_file(f"{root}/{name}", str(to), chunksize=_PART_BYTES, max_concurrency=_NUM_PARTS_AT_ONCE)
            return True
        return False

    def _open(self) -> tuple[Any, str]:
        options = {"use_listings_cache": False, "skip_instance_cache": True}
        config = {"read_timeout": _READ_SECONDS, **_proxies()}
        files, root = fsspec.url_to_fs(self.url, **options, config_kwargs=config)
        files.call_s3("head_bucket", Bucket=root.partition("/")[0])  # later, a missing bucket looks like a missing blob
        return files, root.rstrip("/")

    def _key(self, name: str) -> dict[str, str]:
        bucket, _, prefix = self.url.partition("://")[2].partition("/")
        return {"Bucket": bucket, "Key": f"{prefix}/{name}".lstrip("/")}

    def _remedy(self, error: Exception) -> str:
        return remedy("s3") if isinstance(error, ImportError) else super()._remedy(error)


def _pages(
    files: Any,  # noqa: ANN401
    method: str,
    entries: str,
    markers: tuple[str, ...],
    place: dict[str, str],
) -> Iterator[dict[str, Any]]:
    """Yield the entries of all pages of a listing."""
    answer: dict[str, Any] = {"IsTruncated": True}
    while answer.get("IsTruncated"):
        after = {each: answer[f"Next{each}"] for each in markers if f"Next{each}" in answer}
        answer = files.call_s3(method, **place, **after)
        yield from answer.get(entries, ())


def _proxies() -> dict[str, Any]:
    """Return botocore's option for no proxy where the server is on this machine; else the variables hold."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL", "")
    return {"proxies": {}} if is_this_machine(urlsplit(endpoint).hostname or "") else {}
