"""The cache of remote blobs: bounded, least recently used first, shared by processes."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from model_store.blobs.cache import BlobCache
from model_store.errors import InvalidInput
from tests.model_store.blob_places import remote_blobs

ROOT = Path(__file__).parents[3]


def add(cache: BlobCache, data: bytes) -> str:
    """Put an entry into the cache; return its digest."""
    digest = hashlib.sha256(data).hexdigest()
    file = cache.temporary / digest
    file.write_bytes(data)
    cache.add(file, digest)
    file.unlink(missing_ok=True)
    return digest


def holds(cache: BlobCache, digest: str) -> bool:
    """Say whether an entry is there, without using it."""
    return cache._path(digest).is_file()


def size_of(cache: BlobCache) -> int:
    """Return the bytes of all entries."""
    return sum(path.stat().st_size for path in cache._entries.rglob("*") if path.is_file())


def test_what_was_used_least_recently_goes_first(tmp_path: Path) -> None:
    """Opening an entry counts as using it, adding it too."""
    cache = BlobCache(tmp_path, 30)
    one, two, three = (add(cache, letter * 10) for letter in (b"1", b"2", b"3"))
    opened = cache.open(one)
    assert opened is not None
    four = add(cache, b"4" * 10)
    assert [holds(cache, each) for each in (one, two, three, four)] == [True, False, True, True]
    five = add(cache, b"5" * 25)
    assert [holds(cache, each) for each in (one, three, four, five)] == [False, False, False, True]
    with opened:
        assert opened.read() == b"1" * 10, "an open entry stays readable"


def test_the_bound_holds_after_every_addition(tmp_path: Path) -> None:
    """Whatever the sizes; what is larger than the bound is not taken."""
    cache = BlobCache(tmp_path, 1000)
    for number in range(100):
        digest = add(cache, bytes([number]) * (number * 37 % 1100))
        assert size_of(cache) <= 1000
        assert holds(cache, digest) == (number * 37 % 1100 <= 1000)


def test_adding_an_entry_again_removes_no_other(tmp_path: Path) -> None:
    """Two threads may fetch the same blob at once."""
    cache = BlobCache(tmp_path, 20)
    one, two = add(cache, b"1" * 10), add(cache, b"2" * 10)
    add(cache, b"2" * 10)
    assert holds(cache, one)
    assert holds(cache, two)


def test_only_a_digest_becomes_a_path(tmp_path: Path) -> None:
    """Here as in the store."""
    with pytest.raises(InvalidInput):
        BlobCache(tmp_path, 20).open("../../etc/passwd")


def test_processes_share_a_cache(tmp_path: Path) -> None:
    """While four of them read twenty blobs through a cache of five, nobody reads a wrong byte, and the bound holds."""
    url = f"local://{tmp_path}/elsewhere"
    elsewhere = remote_blobs(url, tmp_path / "other machine")
    digests = [elsewhere.put([bytes([number]) * 10_000]).digest for number in range(20)]
    script = (
        "import random, sys, pathlib\n"
        "from tests.model_store.blob_places import remote_blobs\n"
        "url, folder, *digests = sys.argv[1:]\n"
        "blobs = remote_blobs(url, pathlib.Path(folder), cache_bytes=50_000)\n"
        "for digest in random.choices(digests, k=200):\n"
        "    assert len(blobs.read(digest)) == 10_000\n"
        "    blobs.map(digest).close()\n"
    )
    command = [sys.executable, "-c", script, url, str(tmp_path), *digests]
    processes = [subprocess.Popen(command, cwd=ROOT) for _ in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    assert 40_000 <= size_of(BlobCache(tmp_path / "cache", 50_000)) <= 50_000
    assert list(remote_blobs(url, tmp_path).unfinished()) == []


def test_what_a_killed_process_was_fetching_goes(tmp_path: Path) -> None:
    """The next process that opens the cache removes it, once nobody can be writing to it any more."""
    temporary = BlobCache(tmp_path, 100).temporary
    for name, seconds in (("abandoned", time.time() - 100_000), ("on its way", time.time())):
        (temporary / name).write_bytes(b"half a blob")
        os.utime(temporary / name, (seconds, seconds))
    BlobCache(tmp_path, 100)
    assert [path.name for path in temporary.iterdir()] == ["on its way"]
