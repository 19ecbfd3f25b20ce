"""Blobs: durable, content-addressed, never torn."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from model_store.errors import CorruptBlob, InvalidInput, MissingBlob
from model_store.local_blobs import LocalBlobs

DATA = b"stage" * 1000
DIGEST = hashlib.sha256(DATA).hexdigest()


def test_a_blob_is_named_by_its_sha256(blobs: LocalBlobs) -> None:
    """What is put under a digest is read back, byte for byte."""
    stored = blobs.put([DATA[:7], DATA[7:]])
    assert (stored.digest, stored.size_bytes, stored.added_bytes) == (DIGEST, len(DATA), len(DATA))
    assert blobs.read(DIGEST) == DATA


def test_equal_bytes_are_stored_once(blobs: LocalBlobs) -> None:
    """A second put adds nothing and leaves no file behind."""
    blobs.put([DATA])
    assert blobs.put([DATA]).added_bytes == 0
    assert len(_files(blobs)) == 1


def test_an_unexpected_digest_keeps_nothing(blobs: LocalBlobs) -> None:
    """Bytes that were damaged on the way are refused, and their temporary file is gone."""
    with pytest.raises(InvalidInput, match="send them again"):
        blobs.put([DATA], expected_digest="0" * 64)
    assert _files(blobs) == []


def test_a_failing_source_keeps_nothing(blobs: LocalBlobs) -> None:
    """A sender that vanishes half-way leaves no file."""

    def vanish() -> Iterator[bytes]:
        yield DATA
        raise ConnectionError

    with pytest.raises(ConnectionError):
        blobs.put(vanish())
    assert _files(blobs) == []


@pytest.mark.parametrize("position", [0, len(DATA) // 2, len(DATA) - 1])
def test_one_flipped_byte_is_found(blobs: LocalBlobs, position: int) -> None:
    """Reading verifies every byte and names the blob."""
    blobs.put([DATA])
    _flip(blobs.path(DIGEST), position)
    with pytest.raises(CorruptBlob, match=DIGEST):
        blobs.read(DIGEST)


def test_putting_a_damaged_blob_again_heals_it(blobs: LocalBlobs) -> None:
    """The message says to publish again, so that must help."""
    blobs.put([DATA])
    _flip(blobs.path(DIGEST), 3)
    assert blobs.put([DATA]).added_bytes == len(DATA)
    assert blobs.read(DIGEST) == DATA


def test_a_missing_blob_is_named(blobs: LocalBlobs) -> None:
    """The error says which blob, where, and what to do."""
    with pytest.raises(MissingBlob, match=f"{DIGEST} is missing at .*restore it"):
        blobs.read(DIGEST)


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 64 + "\n"])
def test_only_a_digest_becomes_a_path(blobs: LocalBlobs, digest: str) -> None:
    """No text of a caller reaches the file system."""
    with pytest.raises(InvalidInput):
        blobs.has(digest)


def test_a_full_disk_is_named_and_gives_its_space_back(tmp_path: Path) -> None:
    """A write that meets a file size limit raises StorageFull and leaves nothing."""
    script = (
        "import resource, signal, sys, pathlib\n"
        "from model_store.local_blobs import LocalBlobs\n"
        "from model_store.errors import StorageFull\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try:\n"
        "    LocalBlobs(pathlib.Path(sys.argv[1])).put([bytes(1_000_000)])\n"
        "except StorageFull as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, capture_output=True, text=True)
    assert "free some space" in done.stdout
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def _files(blobs: LocalBlobs) -> list[Path]:
    root = blobs.path(DIGEST).parents[2] if blobs.has(DIGEST) else blobs._root.parent
    return [path for path in root.rglob("*") if path.is_file()]


def _flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
