"""A folder becomes a tar archive while it is sent."""

from __future__ import annotations

import io
import tarfile
import tracemalloc
from pathlib import Path

import pytest

from maas_client.archive import CHUNK_BYTES, chunks_of


def test_a_folder_arrives_as_a_tar_of_its_files(tmp_path: Path) -> None:
    """Names are relative, contents whole, and links are sent as the files they point at."""
    (tmp_path / "photos/rose").mkdir(parents=True)
    (tmp_path / "photos/rose/1.png").write_bytes(b"one")
    (tmp_path / "elsewhere.png").write_bytes(b"two")
    (tmp_path / "photos/rose/2.png").symlink_to(tmp_path / "elsewhere.png")
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks_of(tmp_path / "photos")))) as archive:
        found = {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]
    assert found == {"rose/1.png": b"one", "rose/2.png": b"two"}


def test_a_file_is_sent_as_it_is(tmp_path: Path) -> None:
    """An archive that exists already is not packed again."""
    data = bytes(range(256)) * 10_000
    (tmp_path / "a.zip").write_bytes(data)
    assert b"".join(chunks_of(tmp_path / "a.zip")) == data


def test_a_large_folder_is_never_held_in_memory(tmp_path: Path) -> None:
    """Sixty megabytes go through with a fraction of that in memory."""
    for number in range(6):
        (tmp_path / f"{number}.bin").write_bytes(bytes(10_000_000))
    tracemalloc.start()
    try:
        sent = sum(len(chunk) for chunk in chunks_of(tmp_path))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sent > 60_000_000
    assert peak < 20 * CHUNK_BYTES


def test_a_receiver_that_leaves_does_not_hang_the_sender(tmp_path: Path) -> None:
    """Closing the iterator early ends the thread that packs."""
    for number in range(4):
        (tmp_path / f"{number}.bin").write_bytes(bytes(10_000_000))
    chunks = chunks_of(tmp_path)
    next(chunks)
    chunks.close()  # type: ignore[attr-defined]


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sender raises instead of sending less than there is."""
    broken = tmp_path / "photos"
    broken.mkdir()
    (broken / "gone.png").write_bytes(b"x")

    def unreadable(*_: object, **__: object) -> None:
        raise PermissionError("gone.png")

    monkeypatch.setattr(tarfile.TarFile, "add", unreadable)
    with pytest.raises(PermissionError, match="gone"):
        list(chunks_of(broken))
