"""Blobs in S3: read through the cache, sent in parts, and every fault of the network named."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem

from model_store.blobs import BlobStore
from model_store.blobs.remote import RemoteBlobs, _name
from model_store.blobs.urls import open_blobs
from model_store.errors import CorruptBlob, Unavailable
from tests.model_store.blob_places import Place, remote_blobs, remote_place
from tests.s3_server import BUCKET, S3Server, cutting_proxy

DATA = b"stage" * 1000
DIGEST = hashlib.sha256(DATA).hexdigest()
LARGE = os.urandom(20 * 1024 * 1024)
NOWHERE = "http://127.0.0.1:1"
ASKING: list[Callable[[BlobStore], object]] = [
    lambda blobs: blobs.has(DIGEST),
    lambda blobs: blobs.size(DIGEST),
    lambda blobs: blobs.read(DIGEST),
    lambda blobs: blobs.open(DIGEST),
    lambda blobs: blobs.verify(DIGEST),
    lambda blobs: blobs.put([DATA]),
    lambda blobs: list(blobs.all()),
    lambda blobs: blobs.delete(DIGEST, before=0),
    lambda blobs: list(blobs.unfinished()),
    lambda blobs: blobs.quarantine(DIGEST),
]


@pytest.fixture
def place(s3_url: str, tmp_path: Path) -> Place:
    """An empty store in S3."""
    return remote_place(s3_url, tmp_path)


@pytest.fixture
def blobs(place: Place) -> RemoteBlobs:
    """The store alone."""
    assert isinstance(place.blobs, RemoteBlobs)
    return place.blobs


def cached(blobs: RemoteBlobs, digest: str = DIGEST) -> Path:
    """Return where this machine's copy of a blob is."""
    return blobs._cache._path(digest)


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_a_server_on_this_machine_is_reached_without_a_proxy(
    s3: S3Server, s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """A proxy that does not answer changes nothing, however the server is named."""
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setenv(variable, s3.environment["AWS_ENDPOINT_URL"])
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, NOWHERE)
    blobs = open_blobs(s3_url, cache=tmp_path / "cache", cache_bytes=10**9)
    assert blobs.put([DATA]).digest == DIGEST
    assert blobs.size(DIGEST) == len(DATA)


def call(blobs: RemoteBlobs, method: str, **arguments: Any) -> Any:
    """Ask the server something about the large blob, past the store."""
    files, _ = blobs._folder._connected()
    bucket, _, prefix = blobs._folder.url.removeprefix("s3://").partition("/")
    key = f"{prefix}/{_name(hashlib.sha256(LARGE).hexdigest())}"
    return files.call_s3(method, Bucket=bucket, Key=key, **arguments)


def test_what_was_put_or_read_is_read_from_the_disk(place: Place, blobs: RemoteBlobs) -> None:
    """The network is asked once, by whoever writes or reads first; verifying asks it always."""
    blobs.put([DATA])
    for _ in range(2):
        assert cached(blobs).read_bytes() == DATA
        place.overwrite(DIGEST, b"x" * len(DATA))
        assert blobs.read(DIGEST) == DATA
        with pytest.raises(CorruptBlob, match="move it away and publish") as caught:
            blobs.verify(DIGEST)
        assert f"{BUCKET}/" in caught.value.detail
        place.overwrite(DIGEST, DATA)
        place.forget(DIGEST)
        assert blobs.read(DIGEST) == DATA


@pytest.mark.parametrize("damage", [b"", DATA[:-1], b"x" + DATA[1:]])
def test_a_damaged_local_copy_is_fetched_again(blobs: RemoteBlobs, damage: bytes) -> None:
    """A copy that was torn by a power cut, or rotted, is nobody's loss."""
    blobs.put([DATA])
    for read in (lambda: blobs.read(DIGEST), lambda: blobs.map(DIGEST)[:]):
        cached(blobs).write_bytes(damage)
        assert read() == DATA
        assert cached(blobs).read_bytes() == DATA


def test_a_corrupt_object_does_not_enter_the_cache(place: Place, blobs: RemoteBlobs) -> None:
    """Not even where a damaged local copy led to it; healed, it is read."""
    blobs.put([DATA])
    cached(blobs).write_bytes(b"torn")
    place.overwrite(DIGEST, b"x" * len(DATA))
    for read in (blobs.read, blobs.open):
        place.forget(DIGEST)
        with pytest.raises(CorruptBlob) as caught:
            read(DIGEST)
        assert "s3://" in caught.value.detail
        assert not cached(blobs).exists()
    blobs.quarantine(DIGEST)
    blobs.put([DATA])
    assert blobs.read(DIGEST) == DATA


def test_a_blob_larger_than_the_cache_works(s3_url: str, tmp_path: Path) -> None:
    """It is fetched whenever it is read, and leaves nothing."""
    blobs = remote_blobs(s3_url, tmp_path, cache_bytes=len(DATA) - 1)
    blobs.put([DATA])
    assert blobs.read(DIGEST) == DATA
    with blobs.map(DIGEST) as mapped, blobs.open(DIGEST) as file:
        assert mapped[:] == file.read() == DATA
    assert not cached(blobs).exists()
    assert list(blobs.unfinished()) == []


def test_a_large_blob_is_sent_in_parts(blobs: RemoteBlobs) -> None:
    """It arrives whole, is made young without being sent again, and comes back."""
    digest = blobs.put([LARGE]).digest
    assert call(blobs, "head_object")["ETag"].endswith('-3"')
    blobs._cache.drop(digest)
    assert blobs.put([LARGE]).added_bytes == 0
    assert "renewed-at" in call(blobs, "head_object")["Metadata"]
    blobs._cache.drop(digest)
    assert blobs.read(digest) == LARGE
    blobs.verify(digest)


def test_an_upload_that_never_ended_is_found_and_given_up(blobs: RemoteBlobs) -> None:
    """Its parts take space that nobody sees otherwise; other prefixes of the bucket are others' affair."""
    upload = call(blobs, "create_multipart_upload")["UploadId"]
    call(blobs, "upload_part", UploadId=upload, PartNumber=1, Body=LARGE[: 5 * 1024 * 1024])
    (found,) = blobs.unfinished()
    assert found.size_bytes == 5 * 1024 * 1024
    assert upload in found.id
    beside = RemoteBlobs(type(blobs._folder)(f"{blobs._folder.url}-beside"), blobs._cache)
    assert list(beside.unfinished()) == []
    for _ in range(2):
        blobs.discard(found)
    assert list(blobs.unfinished()) == []


def test_an_answer_that_breaks_off_is_asked_for_again(
    s3: S3Server, blobs: RemoteBlobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two connections are cut in the middle of a large blob: it is read, whole."""
    digest = blobs.put([LARGE]).digest
    with cutting_proxy(s3, num_cuts=2, after_bytes=1_000_000) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.environment["AWS_ENDPOINT_URL"])
        through_proxy = remote_blobs(blobs._folder.url, tmp_path / "other machine")
        assert through_proxy.read(digest) == LARGE
        assert list(through_proxy.unfinished()) == []


def test_a_server_that_is_down_is_unavailable(
    blobs: RemoteBlobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything that needs it says what to check and leaves nothing; what is here can still be read."""
    blobs.put([DATA])
    monkeypatch.setenv("AWS_ENDPOINT_URL", NOWHERE)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    elsewhere = remote_blobs(blobs._folder.url, tmp_path / "other machine")
    for ask in ASKING:
        with pytest.raises(Unavailable, match=r"does not answer.*check.*AWS_ENDPOINT_URL") as caught:
            ask(elsewhere)
        told, detail = str(caught.value), caught.value.detail
        assert not [word for word in (BUCKET, "127.0.0.1") if word in told or word not in detail]
    assert [path for path in (tmp_path / "other machine").rglob("tmp/*") if path.is_file()] == []
    assert remote_blobs(blobs._folder.url, tmp_path).read(DIGEST) == DATA


@pytest.mark.parametrize("variable", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_wrong_credentials_are_named(
    s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """So that nobody takes a refusal for a missing blob."""
    monkeypatch.setenv(variable, "wrong")
    for ask in ASKING:
        with pytest.raises(Unavailable, match=r"check.*credentials"):
            ask(remote_blobs(s3_url, tmp_path))


def test_missing_credentials_are_named(s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are looked for where AWS's own tools look, and not found."""
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(variable)
    with pytest.raises(Unavailable, match=r"check.*AWS_ACCESS_KEY_ID") as caught:
        remote_blobs(s3_url, tmp_path).has(DIGEST)
    assert "credentials" in caught.value.detail


def test_a_missing_bucket_is_unavailable(s3_url: str, tmp_path: Path) -> None:
    """Nothing was lost: the address is wrong."""
    assert s3_url
    for ask in ASKING:
        with pytest.raises(Unavailable, match="check that the bucket exists") as caught:
            ask(remote_blobs("s3://nobodys-bucket/x", tmp_path))
        assert "s3://nobodys-bucket/x" in caught.value.detail


class BreakingFileSystem(LocalFileSystem):
    """A file system that fails in the middle of a file, and perhaps again when the half is to be removed."""

    protocol = "breaking"
    can_remove = True

    def put_file(self, lpath: str, rpath: str, **_: Any) -> None:
        Path(rpath).write_bytes(Path(lpath).read_bytes()[:10])
        raise OSError(errno.EIO, "the cable was pulled")

    def rm_file(self, path: str) -> None:
        if not self.can_remove:
            raise OSError(errno.EIO, "the cable is still out")
        super().rm_file(path)


@pytest.mark.parametrize("can_remove", [True, False])
def test_half_a_file_is_never_a_blob(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, can_remove: bool) -> None:
    """Where files grow under their name, a blob grows under another; what stays of it can be collected."""
    fsspec.register_implementation("breaking", BreakingFileSystem, clobber=True)
    monkeypatch.setattr(BreakingFileSystem, "can_remove", can_remove)
    blobs = remote_blobs(f"breaking://{tmp_path}/elsewhere", tmp_path)
    with pytest.raises(Unavailable, match="check that it runs") as caught:
        blobs.put([DATA])
    assert "the cable was pulled" in caught.value.detail
    assert not blobs.has(DIGEST)
    assert list(blobs.all()) == []
    left = list(blobs.unfinished())
    assert [each.size_bytes for each in left] == ([] if can_remove else [10])
    monkeypatch.setattr(BreakingFileSystem, "can_remove", True)
    for each in left:
        blobs.discard(each)
    assert list(blobs.unfinished()) == []
