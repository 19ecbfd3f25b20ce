"""What every blob store promises, wherever it keeps the bytes: durable, content-addressed, never torn."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from model_store.blobs import BlobStore
from model_store.errors import CorruptBlob, InvalidInput, MissingBlob
from model_store.tensors.stages import read_forms, read_stages, write_stages
from tests.model_store.blob_places import Place, local_place, remote_place

DATA = b"stage" * 1000
DIGEST = hashlib.sha256(DATA).hexdigest()
READING: list[Callable[[BlobStore], object]] = [
    lambda blobs: blobs.read(DIGEST),
    lambda blobs: blobs.map(DIGEST),
    lambda blobs: blobs.verify(DIGEST),
]


@pytest.fixture(params=["disk", "s3", "other file system"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty store on a disk, in S3, and on another file system that fsspec opens."""
    if request.param == "disk":
        return local_place(tmp_path)
    url = request.getfixturevalue("s3_url") if request.param == "s3" else f"local://{tmp_path}/elsewhere"
    return remote_place(url, tmp_path)


@pytest.fixture
def blobs(place: Place) -> BlobStore:
    """The store alone."""
    return place.blobs


def test_a_blob_is_named_by_its_sha256(place: Place, blobs: BlobStore) -> None:
    """What is put under a digest is read back, byte for byte, in every way of reading."""
    stored = blobs.put([DATA[:7], DATA[7:]])
    assert (stored.digest, stored.size_bytes, stored.added_bytes) == (DIGEST, len(DATA), len(DATA))
    assert blobs.has(DIGEST)
    assert blobs.size(DIGEST) == len(DATA)
    for _ in range(2):
        assert blobs.read(DIGEST) == DATA
        with blobs.map(DIGEST) as mapped:
            assert mapped[:] == DATA
        with blobs.open(DIGEST) as file:
            assert file.read(7) + file.read() == DATA
        blobs.verify(DIGEST)
        place.forget(DIGEST)


def test_equal_bytes_are_stored_once(blobs: BlobStore) -> None:
    """A second put adds nothing and leaves nothing behind."""
    blobs.put([DATA])
    assert blobs.put([DATA]).added_bytes == 0
    assert [blob.digest for blob in blobs.all()] == [DIGEST]
    assert list(blobs.unfinished()) == []


def test_an_unexpected_digest_keeps_nothing(blobs: BlobStore) -> None:
    """Bytes that were damaged on the way are refused, and their temporary file is gone."""
    with pytest.raises(InvalidInput, match="send them again"):
        blobs.put([DATA], expected_digest="0" * 64)
    assert (list(blobs.all()), list(blobs.unfinished())) == ([], [])


def test_a_failing_source_keeps_nothing(blobs: BlobStore) -> None:
    """A sender that vanishes half-way leaves nothing."""

    def vanish() -> Iterator[bytes]:
        yield DATA
        raise ConnectionError

    with pytest.raises(ConnectionError):
        blobs.put(vanish())
    assert (list(blobs.all()), list(blobs.unfinished())) == ([], [])


@pytest.mark.parametrize("position", [0, len(DATA) // 2, len(DATA) - 1])
def test_one_flipped_byte_is_found(place: Place, position: int) -> None:
    """Reading verifies every byte and names the blob; what cannot be verified is never handed out."""
    place.blobs.put([DATA])
    place.overwrite(DIGEST, DATA[:position] + bytes([DATA[position] ^ 1]) + DATA[position + 1 :])
    place.forget(DIGEST)
    for read in READING:
        with pytest.raises(CorruptBlob, match=DIGEST):
            read(place.blobs)


@pytest.mark.parametrize("damaged", [b"", DATA[:-1], DATA + b"\0"])
def test_a_blob_of_another_length_is_found(place: Place, damaged: bytes) -> None:
    """So is one that was cut off, or grew."""
    place.blobs.put([DATA])
    place.overwrite(DIGEST, damaged)
    place.forget(DIGEST)
    for read in READING:
        with pytest.raises(CorruptBlob, match=DIGEST):
            read(place.blobs)


def test_a_missing_blob_is_named(blobs: BlobStore) -> None:
    """The error says which blob and what to do, and its detail, which only the operator sees, where."""
    assert not blobs.has(DIGEST)
    for read in (*READING, lambda blobs: blobs.size(DIGEST), lambda blobs: blobs.open(DIGEST)):
        with pytest.raises(MissingBlob, match=f"{DIGEST} is missing: restore it") as caught:
            read(blobs)
        assert DIGEST in caught.value.detail
        assert "/" not in str(caught.value)
    with pytest.raises(MissingBlob):
        blobs.quarantine(DIGEST)
    assert not blobs.delete(DIGEST, before=time.time() + 60)


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 64 + "\n"])
def test_only_a_digest_becomes_a_path(blobs: BlobStore, digest: str) -> None:
    """No text of a caller reaches a file system."""
    for method in (blobs.has, blobs.size, blobs.read, blobs.map, blobs.open, blobs.verify, blobs.quarantine):
        with pytest.raises(InvalidInput):
            method(digest)
    with pytest.raises(InvalidInput):
        blobs.delete(digest, before=time.time())


def test_all_blobs_are_listed_with_size_and_time(blobs: BlobStore) -> None:
    """Seconds since the epoch, whatever the store counts in."""
    wanted = {blobs.put([data]).digest: len(data) for data in (b"", b"one", b"twelve bytes")}
    found = list(blobs.all())
    assert {blob.digest: blob.size_bytes for blob in found} == wanted
    assert all(abs(blob.put_at - time.time()) < 60 for blob in found)


def test_only_old_blobs_are_deleted(blobs: BlobStore) -> None:
    """A young one stays; an old one is gone, for those who read it here too."""
    blobs.put([DATA])
    assert not blobs.delete(DIGEST, before=time.time() - 60)
    assert blobs.read(DIGEST) == DATA
    assert blobs.delete(DIGEST, before=time.time() + 60)
    assert not blobs.has(DIGEST)
    with pytest.raises(MissingBlob):
        blobs.read(DIGEST)


def test_putting_a_blob_again_makes_it_young(blobs: BlobStore) -> None:
    """The collector counts from the last put; some stores count in whole seconds."""
    blobs.put([DATA])
    (first,) = blobs.all()
    give_up = time.monotonic() + 10
    while next(iter(blobs.all())).put_at <= first.put_at:
        assert time.monotonic() < give_up
        assert blobs.put([DATA]).added_bytes == 0
    assert blobs.read(DIGEST) == DATA


def test_a_blob_in_quarantine_is_not_read_any_more(place: Place) -> None:
    """It is kept aside, and putting the same bytes again heals the store."""
    place.blobs.put([DATA])
    place.overwrite(DIGEST, b"x" * len(DATA))
    assert f"quarantine/{DIGEST}-" in place.blobs.quarantine(DIGEST)
    assert not place.blobs.has(DIGEST)
    assert list(place.blobs.all()) == []
    assert place.blobs.put([DATA]).added_bytes == len(DATA)
    place.blobs.verify(DIGEST)


def test_the_empty_blob_is_a_blob(blobs: BlobStore) -> None:
    """It can be stored and read; there is nothing to map."""
    digest = blobs.put([]).digest
    assert blobs.read(digest) == b""
    with pytest.raises(InvalidInput, match="empty blob"):
        blobs.map(digest)


def test_what_is_being_written_is_listed_and_can_be_discarded(blobs: BlobStore) -> None:
    """As the collector does with what a killed writer left."""
    with blobs.writer() as writer:
        writer.write(DATA)
        (found,) = blobs.unfinished()
        assert abs(found.started_at - time.time()) < 60
        for _ in range(2):
            blobs.discard(found)
        assert list(blobs.unfinished()) == []


def test_a_scratch_file_is_gone_afterwards(blobs: BlobStore, tmp_path: Path) -> None:
    """It holds what was written, and is nowhere when the block ends."""
    with blobs.temporary_file() as file:
        file.write(DATA)
        file.seek(0)
        assert file.read() == DATA
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size] == []


def test_files_beside_the_blobs_are_no_blobs(blobs: BlobStore, tmp_path: Path) -> None:
    """They lie on this machine, and neither a listing nor a collector sees them."""
    folder = blobs.local_folder("uploads")
    assert folder.is_relative_to(tmp_path)
    folder.mkdir()
    (folder / "one").write_bytes(DATA)
    digest = blobs.put([DATA]).digest
    assert [each.digest for each in blobs.all()] == [digest]
    assert list(blobs.unfinished()) == []


def test_threads_put_and_read_at_once(blobs: BlobStore) -> None:
    """The same blobs and others, many at a time: each reads what it put."""

    def work(number: int) -> bool:
        data = bytes([number % 5]) * 100_000
        return blobs.read(blobs.put([data]).digest) == data

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(work, range(40)))
    assert len(list(blobs.all())) == 5
    assert list(blobs.unfinished()) == []


def test_stages_come_back(place: Place) -> None:
    """Tensors of several stages at once, out of the cache and past it."""
    stages = {f"stage{number}": {"w": torch.randn(number, 50_000)} for number in range(6)}
    stored = write_stages(place.blobs, stages)
    digests = [blob.digest for blob in stored.values()]
    for _ in range(2):
        found = read_stages(place.blobs, digests)
        assert all(torch.equal(found[stored[name].digest]["w"], stages[name]["w"]) for name in stages)
        assert read_forms(place.blobs, digests)[digests[2]] == {"w": (torch.Size([2, 50_000]), torch.float32)}
        for digest in digests:
            place.forget(digest)
