"""A version as one file: written the same each time, and believed only after every byte was checked."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from maas.model_store.v1 import model_store_pb2 as pb

from maas_client.errors import DataLoss
from maas_client.files.version_archive import InvalidArchive, opened_archive, write_archive
from tests.maas_client.archives import (
    BLOBS,
    DIGESTS,
    Chunk,
    archive_of,
    changed_json,
    chunks,
    members_of,
    summed,
    version,
)
from tests.training_service.making import tar_member, tar_of, tar_with

WHOLE = archive_of(version())
MEMBERS = members_of(WHOLE)
FIRST, SECOND = (f"blobs/sha256/{digest}" for digest in DIGESTS)


def read(data: bytes, folder: Path) -> tuple[pb.ModelVersion, str, dict[str, bytes]]:
    """Return all that an archive holds."""
    path = folder / "flowers.maas"
    path.write_bytes(data)
    with opened_archive(path) as archive:
        return archive.version, archive.digest, {each: b"".join(archive.chunks(each)) for each in archive.blobs}


def test_what_was_written_is_read(tmp_path: Path) -> None:
    """Manifest, blobs, and all that is known of the version but for what its store alone says."""
    there = version(
        description="Ours.", aliases=["production"], etag="7", added_bytes=9, state=pb.RESOURCE_STATE_ACTIVE
    )
    found, _, blobs = read(archive_of(there), tmp_path)
    wanted = version(description="Ours.")
    wanted.ClearField("manifest_json")
    assert found == wanted
    assert blobs == dict(zip(DIGESTS, BLOBS, strict=True))


def test_the_same_version_makes_the_same_file() -> None:
    """Whatever chunks it came in, whichever aliases point at it, and in whatever order its tags were."""
    again = version(aliases=["production"], etag="9")
    again.tags.clear()
    again.tags.update({"a": "1", "b": "2"})
    file = io.BytesIO()
    write_archive(file, again, chunks(*BLOBS, size=77_777))
    assert file.getvalue() == WHOLE
    assert archive_of(version(description="Another.")) != WHOLE


def test_ordinary_tools_check_it(tmp_path: Path) -> None:
    """`tar x`, `sha256sum -c`, and the manifest's digest is its file's."""
    (tmp_path / "flowers.maas").write_bytes(WHOLE)
    subprocess.run([str(shutil.which("tar")), "xf", "flowers.maas"], cwd=tmp_path, check=True, stderr=subprocess.PIPE)
    check = [str(shutil.which("sha256sum")), "--check", "--strict", "--quiet", "SHA256SUMS"]
    subprocess.run(check, cwd=tmp_path, check=True)
    assert hashlib.sha256((tmp_path / "manifest.json").read_bytes()).hexdigest() == version().manifest_digest
    assert json.loads((tmp_path / "version.json").read_text())["metric_values"] == {"accuracy": 1 / 3}
    assert len(MEMBERS["SHA256SUMS"].splitlines()) == len(MEMBERS) - 1 == 4


def test_no_blob_is_held_in_memory(tmp_path: Path) -> None:
    """A hundred megabytes are written and read with a fraction of that."""
    size, made = 100_000_000, version()
    zeros = bytes(1_000_000)
    digest = hashlib.sha256(bytes(size)).hexdigest()
    for stage in made.stages:
        stage.digest, stage.size_bytes = digest, size
    manifest = json.loads(made.manifest_json)
    manifest["stages"] = [{"name": stage.name, "digest": digest} for stage in made.stages]
    made.manifest_json = changed_json(json.dumps(manifest).encode()).decode()
    made.manifest_digest = hashlib.sha256(made.manifest_json.encode()).hexdigest()
    path = tmp_path / "large.maas"
    tracemalloc.start()
    try:
        with path.open("wb") as file:
            write_archive(file, made, (Chunk(digest=digest, data=zeros) for _ in range(size // len(zeros))))
        with opened_archive(path) as archive:
            assert sum(len(chunk) for chunk in archive.chunks(digest)) == size
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < size / 10


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        ([BLOBS[0]], "did not arrive whole"),
        ([BLOBS[1], BLOBS[0]], "did not arrive whole"),
        ([*BLOBS, b"another"], "none of models/flowers/versions/3's"),
        ([], "did not arrive whole"),
    ],
)
def test_a_download_that_is_not_the_version_is_no_archive(sent: list[bytes], text: str) -> None:
    """Blobs that lack, that come in another order, or that nobody asked for."""
    with pytest.raises(DataLoss, match=text):
        write_archive(io.BytesIO(), version(), chunks(*sent))


@pytest.mark.parametrize("data", [BLOBS[0][:-1], BLOBS[0] + b"x", b"F" + BLOBS[0][1:]])
def test_a_blob_that_arrives_damaged_is_no_archive(data: bytes) -> None:
    """Cut short, too long, or of other bytes."""
    sent = [Chunk(digest=DIGESTS[0], data=data), *chunks(BLOBS[1])]
    with pytest.raises(DataLoss, match=f"{DIGESTS[0]} did not arrive whole"):
        write_archive(io.BytesIO(), version(), iter(sent))


def with_member(name: str, data: bytes) -> bytes:
    """Return the archive with one member more, or another one, and right checksums."""
    return tar_of(summed({**MEMBERS, name: data}))


def without(name: str) -> bytes:
    """Return the archive without a member, and with right checksums."""
    return tar_of(summed({each: data for each, data in MEMBERS.items() if each != name}))


def with_entry(info: tarfile.TarInfo) -> bytes:
    """Return the archive with one entry more, first or last."""
    return tar_with([*((_info(name, data), data) for name, data in MEMBERS.items()), (info, bytes(info.size))])


def with_size(name: str, size: int) -> bytes:
    """Return the archive with a header that lies about a member's size."""
    data, start = bytearray(WHOLE), WHOLE.index(name.encode() + b"\0")
    info = tarfile.TarInfo.frombuf(WHOLE[start : start + 512], "ascii", "strict")
    info.size = size
    data[start : start + 512] = info.tobuf(tarfile.GNU_FORMAT)
    return bytes(data)


def _info(name: str, data: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    return info


def _sums(change: Callable[[bytes], bytes]) -> bytes:
    return tar_of({**MEMBERS, "SHA256SUMS": change(MEMBERS["SHA256SUMS"])})


def _version(**change: object) -> bytes:
    return with_member("version.json", changed_json(MEMBERS["version.json"], **change))


def _manifest(change: Callable[[bytes], bytes]) -> bytes:
    return with_member("manifest.json", change(MEMBERS["manifest.json"]))


HOSTILE = {
    "empty": (b"", "no member at byte 0"),
    "not a tar": (b"PK\x03\x04" + bytes(2000), "no member at byte 0"),
    "compressed": (tar_of(MEMBERS, gzipped=True), "no member at byte 0"),
    "cut in a blob": (WHOLE[: len(WHOLE) // 2], f"it ends within {SECOND}"),
    "cut at the end": (WHOLE[:-1], "something follows"),
    "cut before the end": (WHOLE[:-1024], "cut short"),
    "more behind the end": (WHOLE + b"x", "something follows"),
    "a second archive behind the first": (WHOLE + WHOLE, "something follows"),
    "zeros without end": (WHOLE + bytes(100_000), "something follows"),
    "absolute path": (with_member("/etc/passwd", b"x"), "'/etc/passwd' is no name"),
    "path upwards": (with_member("../manifest.json", b"x"), "'../manifest.json' is no name"),
    "path through a blob": (with_member(f"{FIRST}/../../x", b"x"), "is no name"),
    "path with a dot": (with_member("./manifest.json", b"x"), "is no name"),
    "digest in capitals": (with_member(FIRST.upper(), b"x"), "is no name"),
    "name of other letters": (with_member("mänifest.json", b"x"), "is no ordinary file"),
    "name with a line break": (with_member("manifest.json\n", b"x"), "is no name"),
    "very long name": (with_member("x" * 5000, b"x"), "is no ordinary file"),
    "symbolic link": (with_entry(tar_member("SHA256SUMS", tarfile.SYMTYPE, "/etc/passwd")), "is no ordinary file"),
    "hard link": (with_entry(tar_member(FIRST, tarfile.LNKTYPE, "manifest.json")), "is no ordinary file"),
    "folder": (with_entry(tar_member("blobs", tarfile.DIRTYPE)), "is no ordinary file"),
    "device": (with_entry(tar_member("version.json", tarfile.CHRTYPE)), "is no ordinary file"),
    "pipe": (with_entry(tar_member("version.json", tarfile.FIFOTYPE)), "is no ordinary file"),
    "sparse file": (with_entry(tar_member("version.json", tarfile.GNUTYPE_SPARSE)), "is no ordinary file"),
    "pax header": (with_entry(tar_member("version.json", tarfile.XHDTYPE)), "is no ordinary file"),
    "the same member twice": (with_entry(_info("manifest.json", b"")), "manifest.json is there twice"),
    "the same blob twice": (with_entry(_info(FIRST, b"")), f"{FIRST} is there twice"),
    "a blob more": (with_member(f"blobs/sha256/{hashlib.sha256(b'x').hexdigest()}", b"x"), "no blob of the version"),
    "many blobs more": (tar_of({**MEMBERS, **{f"blobs/sha256/{n:064x}": b"" for n in range(1018)}}), "more than 1021"),
    "a blob less": (without(FIRST), f"it has no {FIRST}"),
    "no manifest": (without("manifest.json"), "it has no manifest.json"),
    "no version": (without("version.json"), "it has no version.json"),
    "no checksums": (tar_of({k: v for k, v in MEMBERS.items() if k != "SHA256SUMS"}), "it has no SHA256SUMS"),
    "size too large": (with_size(FIRST, 10**12), f"it ends within {FIRST}"),
    "size below zero": (with_size(FIRST, -512), f"it ends within {FIRST}"),
    "size too small": (with_size(SECOND, 512), "no member at byte"),
    "size a little too small": (with_size(FIRST, len(BLOBS[0]) - 1), f"{FIRST} has 10 bytes, not 11"),
    "size a little too large": (with_size(FIRST, len(BLOBS[0]) + 1), f"{FIRST} has 12 bytes, not 11"),
    "gigantic manifest": (with_member("manifest.json", bytes(5_000_000)), "manifest.json has 5000000 bytes"),
    "gigantic checksums": (_sums(lambda sums: sums * 10_000), "SHA256SUMS has"),
    "manifest that is no JSON": (_manifest(lambda _: b"{"), "manifest.json: the manifest is not JSON"),
    "manifest nested too deep": (_manifest(lambda _: b"[" * 200_000), "manifest.json: the manifest is not JSON"),
    "manifest with spaces": (_manifest(lambda data: data + b" "), "manifest.json is not canonical"),
    "manifest of another version": (_manifest(lambda data: data.replace(b'"a"', b'"b"')), "are not of one version"),
    "version that is no JSON": (with_member("version.json", b"\xff"), "version.json is not a version's"),
    "version nested too deep": (with_member("version.json", b'{"a":' * 100_000), "version.json is not a version's"),
    "version with a field unknown": (_version(surprise=1), "version.json is not a version's"),
    "version without a name": (_version(name=""), "version.json is not a version's"),
    "version with a path for a name": (_version(name="models/../versions/1"), "version.json is not a version's"),
    "version with a wrong base": (_version(lineage={"base": "models/x"}), "version.json is not a version's"),
    "version of other stages": (_version(stages=[]), "are not of one version"),
    "version of another manifest": (_version(manifest_digest="0" * 64), "are not of one version"),
    "version with other sizes": (
        _version(stages=[{**each, "size_bytes": "5"} for each in json.loads(MEMBERS["version.json"])["stages"]]),
        "bytes, not 5",
    ),
    "calibration without blobs": (
        _version(calibration={"rows_digest": "0" * 64, "logits_digest": DIGESTS[0], "logits_size_bytes": "11"}),
        f"it has no blobs/sha256/{'0' * 64}",
    ),
    "calibration of no digests": (_version(calibration={}), "it has no blobs/sha256/"),
    "blob of other bytes": (with_member(FIRST, b"First stage"), f"{FIRST} is damaged"),
    "blob of other bytes under its name's checksum": (
        tar_of({**MEMBERS, FIRST: b"First stage"}),
        f"{FIRST} is damaged",
    ),
    "wrong checksum": (_sums(lambda sums: sums.replace(sums[:4], b"0000", 1)), "manifest.json is damaged"),
    "checksum of something else": (_sums(lambda sums: sums + b"0" * 64 + b"  more\n"), "does not list each"),
    "checksum twice": (_sums(lambda sums: sums + sums.splitlines(keepends=True)[0]), "does not list each"),
    "checksum missing": (_sums(lambda sums: b"".join(sums.splitlines(keepends=True)[1:])), "does not list each"),
    "checksums that are no text": (_sums(lambda _: b"\xff" * 100), "does not list each"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_archive_is_refused(kind: str, tmp_path: Path) -> None:
    """Each with what is wrong and the file's name; nothing appears on the disk."""
    data, text = HOSTILE[kind]
    with pytest.raises(InvalidArchive) as caught:
        read(data, tmp_path)
    assert text in str(caught.value)
    assert str(tmp_path / "flowers.maas") in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["flowers.maas"]


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    """A folder, nothing at all, and a pipe on which a reader would wait for ever."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "nothing", tmp_path / "pipe"):
        with pytest.raises(InvalidArchive, match="is not a file"), opened_archive(path):
            pass


@given(position=st.integers(0, len(WHOLE) - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_is_noticed_or_means_nothing(
    tmp_path_factory: pytest.TempPathFactory, position: int, bit: int
) -> None:
    """Wherever it is: what is read is what was written, or nothing is."""
    data = bytearray(WHOLE)
    data[position] ^= 1 << bit
    folder = tmp_path_factory.mktemp("flipped")
    try:
        found = read(bytes(data), folder)
    except InvalidArchive:
        return
    assert found == read(WHOLE, folder)


@given(length=st.integers(0, len(WHOLE) - 1))
def test_a_part_of_an_archive_is_none(tmp_path_factory: pytest.TempPathFactory, length: int) -> None:
    """However much of it arrived."""
    with pytest.raises(InvalidArchive):
        read(WHOLE[:length], tmp_path_factory.mktemp("cut"))
