"""The files of uploads: what is read is what was hashed, whoever else writes."""

from __future__ import annotations

import hashlib
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from model_store.errors import Unavailable
from training_service.datasets.files.upload_spool import UploadSpool, UploadTaken

NUM_STREAMS = 6


def spool_in(folder: Path) -> UploadSpool:
    """Return the uploads of one service; several may share a folder."""
    return UploadSpool(folder, max_bytes=10**9, idle_seconds=60, keep_seconds=3600)


def not_answering() -> None:
    """Raise what a store raises that is not there."""
    raise Unavailable("the database does not answer")


def test_streams_that_fight_for_an_upload(tmp_path: Path) -> None:
    """Each sends other bytes, and takes the upload from the others: none ever reads a byte of another one."""

    def stream(number: int) -> tuple[int, int]:
        chance, spool, num_whole, num_taken = random.Random(number), spool_in(tmp_path), 0, 0
        for _ in range(40):
            try:
                with spool.receiving("one", 0, "", lambda: None) as upload:
                    sent = b""
                    for _ in range(chance.randrange(1, 12)):
                        chunk = chance.randbytes(chance.randrange(1, 100_000))
                        upload.write(chunk)
                        sent += chunk
                    upload.content.seek(0)
                    read = upload.content.read()
                    upload.check_not_taken()
                    assert read == sent
                    assert upload.sha256 == hashlib.sha256(sent).hexdigest()
                    num_whole += 1
                    not_answering()
            except UploadTaken:
                num_taken += 1
            except Unavailable:
                continue
        return num_whole, num_taken

    with ThreadPoolExecutor(NUM_STREAMS) as threads:
        outcomes = list(threads.map(stream, range(NUM_STREAMS)))
    assert sum(num_whole for num_whole, _ in outcomes) > 0
    assert sum(num_taken for _, num_taken in outcomes) > 0
    assert len(list(tmp_path.glob("*.*"))) == 1


@pytest.mark.parametrize("is_kept", [True, False])
def test_what_ends_an_upload(tmp_path: Path, is_kept: bool) -> None:  # noqa: FBT001  pytest gives it so
    """A store that does not answer keeps it; a success removes it."""
    spool = spool_in(tmp_path)
    try:
        with spool.receiving("one", 0, "", lambda: None) as upload:
            upload.write(b"bytes")
            if is_kept:
                not_answering()
    except Unavailable:
        assert spool.kept("one").size_bytes == 5
    assert len(list(tmp_path.glob("*.*"))) == int(is_kept)
    assert tmp_path.joinpath("lock").exists()
