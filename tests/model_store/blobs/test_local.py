"""Blobs on a disk: what holds there alone."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from model_store.blobs.local import LocalBlobs

DATA = b"stage" * 1000
DIGEST = hashlib.sha256(DATA).hexdigest()


def test_putting_a_damaged_blob_again_heals_it(blobs: LocalBlobs) -> None:
    """The message says to publish again, so that must help."""
    blobs.put([DATA])
    path = blobs.path(DIGEST)
    path.chmod(0o644)
    path.write_bytes(DATA[:-1] + b"x")
    assert blobs.put([DATA]).added_bytes == len(DATA)
    assert blobs.read(DIGEST) == DATA


def test_nobody_writes_to_a_blob_by_accident(blobs: LocalBlobs) -> None:
    """Its file can be read by everybody, and written by nobody."""
    blobs.put([DATA])
    assert blobs.path(DIGEST).stat().st_mode & 0o777 == 0o444


LOCAL, REMOTE = "LocalBlobs(root)", "open_blobs(f'local://{root}/x', cache=root / 'c', cache_bytes=10**9)"


@pytest.mark.parametrize("make_store", [LOCAL, REMOTE])
def test_a_full_disk_is_named_and_gives_its_space_back(tmp_path: Path, make_store: str) -> None:
    """A write that meets a file size limit raises StorageFull and leaves nothing, here and on the way to elsewhere."""
    script = (
        "import resource, signal, sys, pathlib\n"
        "from model_store.blobs.urls import open_blobs\n"
        "from model_store.errors import StorageFull\n"
        "from model_store.blobs.local import LocalBlobs\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "root = pathlib.Path(sys.argv[1])\n"
        "try:\n"
        f"    {make_store}.put([bytes(1_000_000)])\n"
        "except StorageFull as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, capture_output=True, text=True)
    assert "free some space" in done.stdout
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size] == []
