"""Which blob store a URL names."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from model_store.blobs.local import LocalBlobs
from model_store.blobs.remote import RemoteBlobs
from model_store.blobs.urls import open_blobs
from model_store.errors import InvalidInput, MissingBlob
from tests.model_store.blob_places import remote_blobs
from tests.s3_server import BUCKET


def test_opening_a_store_asks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service starts beside a store that is down for a moment."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    assert isinstance(open_blobs("s3://bucket", cache=tmp_path, cache_bytes=1), RemoteBlobs)


def test_a_bucket_of_its_own_needs_no_prefix(s3_url: str, tmp_path: Path) -> None:
    """A store may own a whole bucket."""
    blobs = remote_blobs(f"s3://{BUCKET}/", tmp_path)
    digest = blobs.put([s3_url.encode()]).digest
    assert digest in {blob.digest for blob in blobs.all()}
    assert blobs.read(digest) == s3_url.encode()
    blobs.quarantine(digest)
    with pytest.raises(MissingBlob):
        blobs.size(digest)


@pytest.mark.parametrize(
    ("url", "reason"),
    [("gopher://models", "blobs_url.*gopher"), ("s3://", "names no bucket"), ("gs://bucket", "blobs_url.*gcsfs")],
)
def test_a_url_that_names_no_store_is_refused(tmp_path: Path, url: str, reason: str) -> None:
    """At the start, before anything depends on it."""
    with pytest.raises(InvalidInput, match=reason):
        open_blobs(url, cache=tmp_path, cache_bytes=1)


@pytest.mark.parametrize("prefix", ["", "file://"])
def test_a_folder_is_a_store_on_the_disk(tmp_path: Path, prefix: str) -> None:
    """A path and its URL name the same store, which needs no cache."""
    blobs = open_blobs(f"{prefix}{tmp_path}/blobs", cache=tmp_path / "cache", cache_bytes=1)
    assert isinstance(blobs, LocalBlobs)
    assert LocalBlobs(tmp_path / "blobs").has(blobs.put([b"stage"]).digest)
    assert not (tmp_path / "cache").exists()


def test_a_missing_library_is_named(tmp_path: Path) -> None:
    """S3 is an extra: who did not install it is told how to."""
    script = (
        "import sys, pathlib\n"
        "sys.modules['s3fs'] = None\n"
        "from model_store.blobs.urls import open_blobs\n"
        "from model_store.errors import InvalidInput\n"
        "try:\n"
        "    open_blobs('s3://bucket/models', cache=pathlib.Path(sys.argv[1]), cache_bytes=1)\n"
        "except InvalidInput as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, capture_output=True, text=True)
    assert re.search(r"pip install .*\[s3\]", done.stdout)
