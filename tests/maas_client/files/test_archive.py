"""A folder becomes a tar archive while it is sent."""

from __future__ import annotations

import io
import os
import sys
import tarfile
import traceback
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from maas_client.files.archive import CHUNK_BYTES, Contents, _ChunkQueue
from maas_client.files.folders import LeftOut
from tests.training_service.running import until


def test_a_folder_arrives_as_a_tar_of_its_files(tmp_path: Path) -> None:
    """Names are relative, contents whole, and links are sent as the files they point at."""
    (tmp_path / "photos/rose").mkdir(parents=True)
    (tmp_path / "photos/rose/1.png").write_bytes(b"one")
    (tmp_path / "elsewhere.png").write_bytes(b"two")
    (tmp_path / "photos/rose/2.png").symlink_to(tmp_path / "elsewhere.png")
    with tarfile.open(fileobj=io.BytesIO(b"".join(Contents(tmp_path / "photos").chunks()))) as archive:
        found = {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]
    assert found == {"rose/1.png": b"one", "rose/2.png": b"two"}


def test_a_file_is_sent_as_it_is(tmp_path: Path) -> None:
    """An archive that exists already is not packed again."""
    data = bytes(range(256)) * 10_000
    (tmp_path / "a.zip").write_bytes(data)
    assert b"".join(Contents(tmp_path / "a.zip").chunks()) == data


def test_a_large_folder_is_never_held_in_memory(tmp_path: Path) -> None:
    """Sixty megabytes go through with a fraction of that in memory."""
    for number in range(6):
        (tmp_path / f"{number}.bin").write_bytes(bytes(10_000_000))
    tracemalloc.start()
    try:
        sent = sum(len(chunk) for chunk in Contents(tmp_path).chunks())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sent > 60_000_000
    assert peak < 20 * CHUNK_BYTES


def test_a_receiver_that_leaves_does_not_hang_the_sender(tmp_path: Path) -> None:
    """Closing the iterator early ends the thread that packs."""
    for number in range(4):
        (tmp_path / f"{number}.bin").write_bytes(bytes(10_000_000))
    chunks = Contents(tmp_path).chunks()
    next(chunks)
    chunks.close()  # type: ignore[attr-defined]


def says_that_it_has_ended() -> bool:
    """Whether a packing thread waits to say so."""
    stacks = [traceback.walk_stack(frame) for frame in sys._current_frames().values()]
    return any(frame.f_code is _ChunkQueue.close.__code__ for stack in stacks for frame, _ in stack)


def test_a_receiver_that_leaves_before_the_end_does_not_hang_the_sender(tmp_path: Path) -> None:
    """The packing thread may have nothing left to do but to say so, to a queue that is full."""
    (tmp_path / "a.bin").write_bytes(
        bytes(10 * CHUNK_BYTES - 10 * 1024)
    )  # with headers and padding ten chunks: two are read, eight fill the queue
    chunks = Contents(tmp_path).chunks()
    for _ in range(2):
        next(chunks)
    until(says_that_it_has_ended)
    chunks.close()  # type: ignore[attr-defined]


def unpacked(contents: Contents) -> dict[str, bytes]:
    """Return the files of the archive that is sent."""
    with tarfile.open(fileobj=io.BytesIO(b"".join(contents.chunks()))) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]


def test_what_is_left_out_is_named(tmp_path: Path) -> None:
    """Links to folders are followed and hard links are files; what cannot be read costs nothing else."""
    photos, elsewhere = tmp_path / "photos", tmp_path / "elsewhere"
    for each in (photos / "rose", photos / "empty", elsewhere):
        each.mkdir(parents=True)
    (photos / "rose/1.png").write_bytes(b"one")
    os.link(photos / "rose/1.png", photos / "rose/2.png")
    (elsewhere / "3.png").write_bytes(b"three")
    (photos / "tulip").symlink_to(elsewhere)
    (photos / "rose/again").symlink_to(photos)
    (photos / "rose/nowhere.png").symlink_to(tmp_path / "nowhere")
    os.mkfifo(photos / "rose/pipe")
    Path(os.fsdecode(os.fsencode(photos / "rose") + b"/\xe4.png")).write_bytes(b"x")
    contents = Contents(photos)
    assert contents.num_bytes == 11
    assert unpacked(contents) == {"rose/1.png": b"one", "rose/2.png": b"one", "tulip/3.png": b"three"}
    assert {each.name: each.reason for each in contents.left_out} == {
        "empty": "it is an empty folder",
        "rose/again": "it is a link to a folder that it lies in",
        "rose/nowhere.png": "it is a link that leads nowhere",
        "rose/pipe": "it is neither a file nor a folder",
        "rose/\\udce4.png": "its name is not UTF-8: rename it",
    }


def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be a label without images."""
    (tmp_path / "rose").mkdir()
    (tmp_path / "rose/1.png").write_bytes(b"one")
    (tmp_path / "secret").mkdir()
    listed = Path.iterdir

    def refusing(path: Path) -> Iterator[Path]:
        if path.name == "secret":
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", refusing)
    contents = Contents(tmp_path)
    assert list(unpacked(contents)) == ["rose/1.png"]
    assert contents.left_out == [LeftOut("secret", "it cannot be read: Permission denied")]


def test_a_file_that_vanishes_or_changes_costs_itself_alone(tmp_path: Path) -> None:
    """Files are opened when it is their turn, long after they were found."""
    for name in ("a", "b", "c"):
        (tmp_path / name).write_bytes(b"1234")
    contents = Contents(tmp_path)
    (tmp_path / "a").unlink()
    (tmp_path / "b").write_bytes(b"12")
    (tmp_path / "c").write_bytes(b"123456")
    assert unpacked(contents) == {"b": b"12", "c": b"123456"}
    assert contents.left_out == [LeftOut("a", "it cannot be read: No such file or directory")]


def test_a_large_file_that_is_cut_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    """Its size was sent already: half of it must not arrive as the whole."""
    large = tmp_path / "large.bin"
    large.write_bytes(bytes(50 * CHUNK_BYTES))
    chunks = Contents(tmp_path).chunks()
    next(chunks)
    os.truncate(large, 1000)
    with pytest.raises(OSError, match=r"large\.bin was cut while it was read"):
        list(chunks)
