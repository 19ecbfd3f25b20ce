"""A version as one file, to be carried where no network leads. It is an uncompressed tar; no service is asked here.

    manifest.json           canonical JSON: its SHA-256 is the manifest's digest
    version.json            the ModelVersion message: metrics, lineage, description, tags, stages, calibration
    blobs/sha256/DIGEST     one for each stage and file of the input spec, and two for a calibration
    SHA256SUMS              of all of these, for `tar x` and `sha256sum -c SHA256SUMS`

The same version makes the same bytes. Of a file that was read, nothing is believed before all of it was checked, and
no name in it ever becomes a path.
"""

from __future__ import annotations

import hashlib
import os
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from google.protobuf import json_format
from maas.model_store.v1 import model_store_pb2

from maas_client.errors import DataLoss, FailedPrecondition, MaasError
from model_store.errors import InvalidInput, InvalidManifest
from model_store.manifests import MAX_BYTES, Manifest, canonical_json
from model_store.names import parse_version

MANIFEST, VERSION, SUMS = "manifest.json", "version.json", "SHA256SUMS"
_BLOB = "blobs/sha256/"
_NAME = re.compile(r"manifest\.json|version\.json|SHA256SUMS|blobs/sha256/[0-9a-f]{64}")
_MAX_MEMBERS = 1021  # a manifest has at most 1000 stages and 16 files
_MAX_SIZES = {MANIFEST: MAX_BYTES, VERSION: 64 * 1024 * 1024, SUMS: 1024 * 1024}
_BLOCK, _CHUNK = tarfile.BLOCKSIZE, 1024 * 1024
# What the store it was in says of a version, and another store says for itself.
_OF_THE_STORE = ("manifest_json", "aliases", "added_bytes", "etag", "state", "update_time", "delete_time", "purge_time")

OnBytes = Callable[[int], object]


class InvalidArchive(MaasError):
    """A file is not a version's archive, or not whole; the text says where."""


@dataclass(frozen=True)
class Member:
    """Where in the file a member's bytes are."""

    start: int
    size: int


@dataclass(frozen=True)
class VersionArchive:
    """An open archive that was checked whole; `digest` is the same for the same content."""

    version: model_store_pb2.ModelVersion
    manifest: Manifest
    digest: str
    _file: IO[bytes]
    _members: Mapping[str, Member]

    @property
    def blobs(self) -> dict[str, int]:
        """Return the sizes of the blobs by digest, in the order of `blob_sizes`."""
        return blob_sizes(self.version)

    def chunks(self, digest: str) -> Iterator[bytes]:
        """Yield the bytes of one blob."""
        return _chunks(self._file, self._members[_BLOB + digest])


def blob_sizes(version: model_store_pb2.ModelVersion) -> dict[str, int]:
    """Return the bytes of a version's blobs by digest: stages, files of the input spec, then the calibration."""
    sizes = {stage.digest: stage.size_bytes for stage in version.stages}
    sizes |= {file.digest: file.size_bytes for file in version.input_files}
    if version.HasField("calibration"):
        calibration = version.calibration
        sizes[calibration.rows_digest] = calibration.rows_size_bytes
        sizes[calibration.logits_digest] = calibration.logits_size_bytes
    return sizes


def write_archive(
    file: IO[bytes],
    version: model_store_pb2.ModelVersion,
    chunks: Iterator[model_store_pb2.DownloadModelVersionResponse.BlobChunk],
) -> None:
    """Write a version with the blobs that come in the order of `blob_sizes`.

    Raises DataLoss where they are not those that the version names; the file is then of no use.
    """
    kept = model_store_pb2.ModelVersion()
    kept.CopyFrom(version)
    for field in _OF_THE_STORE:
        kept.ClearField(field)
    written = _Writer(file, version.create_time.seconds)
    written.add_text(MANIFEST, version.manifest_json.encode(), version.manifest_digest)
    written.add_text(VERSION, canonical_json(json_format.MessageToDict(kept, preserving_proto_field_name=True)))
    waiting = next(chunks, None)
    for digest, size in blob_sizes(version).items():
        with written.member(_BLOB + digest, size, digest) as add:
            while waiting is not None and waiting.digest == digest:
                add(waiting.data)
                waiting = next(chunks, None)
    if waiting is not None:
        raise DataLoss(f"the service sent blob {waiting.digest}, which is none of {version.name}'s: try again")
    written.add_text(SUMS, "".join(f"{digest}  {name}\n" for name, digest in written.sums.items()).encode())
    file.write(bytes(2 * _BLOCK))


class _Writer:
    """Members of a tar, hashed as they are written."""

    def __init__(self, file: IO[bytes], seconds: int) -> None:
        self.sums: dict[str, str] = {}
        self._file = file
        self._seconds = seconds

    def add_text(self, name: str, data: bytes, digest: str = "") -> None:
        """Write a small member; raise FailedPrecondition where it is too large to be imported."""
        if len(data) > _MAX_SIZES[name]:
            raise FailedPrecondition(
                f"{name} would have {len(data)} bytes, and an archive's may have {_MAX_SIZES[name]}"
            )
        with self.member(name, len(data), digest) as add:
            add(data)

    @contextmanager
    def member(self, name: str, size: int, digest: str = "") -> Iterator[Callable[[bytes], None]]:
        """Write a member piece by piece; raise DataLoss where it has another size or digest in the end."""
        info = tarfile.TarInfo(name)
        info.size, info.mtime = size, self._seconds
        self._file.write(info.tobuf(tarfile.GNU_FORMAT))
        hasher, start = hashlib.sha256(), self._file.tell()

        def add(data: bytes) -> None:
            hasher.update(data)
            self._file.write(data)

        yield add
        self.sums[name] = hasher.hexdigest()
        if self._file.tell() - start != size or digest not in {"", self.sums[name]}:
            raise DataLoss(f"{name} did not arrive whole: try again")
        self._file.write(bytes(-size % _BLOCK))


@contextmanager
def opened_archive(path: Path, on_checked: OnBytes = lambda _: None) -> Iterator[VersionArchive]:
    """Open an archive once every byte of it was checked; `on_checked` is told of bytes read.

    Raises InvalidArchive naming the file and what is wrong with it.
    """
    if not path.is_file():  # not a pipe: it is read twice
        raise InvalidArchive(f"{path} is not a file")
    with path.open("rb") as file:
        try:
            archive = _checked(file, on_checked)
        except InvalidArchive as error:
            raise InvalidArchive(f"{path} cannot be imported: {error}; export it again") from error
        yield archive


def _checked(file: IO[bytes], on_checked: OnBytes) -> VersionArchive:
    members = _members(file)
    for name, most in _MAX_SIZES.items():
        _check(name in members, f"it has no {name}")
        _check(members[name].size <= most, f"{name} has {members[name].size} bytes, and may have {most}")
    manifest = _read_manifest(_read(file, members[MANIFEST]))
    version = _read_version(_read(file, members[VERSION]), manifest)
    sizes = {_BLOB + digest: size for digest, size in blob_sizes(version).items()}
    found = {name: member.size for name, member in members.items() if name.startswith(_BLOB)}
    for name in {**sizes, **found}:
        _check(name in found, f"it has no {name}")
        _check(name in sizes, f"{name} is no blob of the version")
        _check(sizes[name] == found[name], f"{name} has {found[name]} bytes, not {sizes[name]}")
    sums = _read(file, members[SUMS])
    _check_sums(sums, {name: _digest(file, members[name], on_checked) for name in members if name != SUMS})
    return VersionArchive(version, manifest, hashlib.sha256(sums).hexdigest(), file, members)


def _members(file: IO[bytes]) -> dict[str, Member]:
    """Return the members by name: regular files of known names, each once, and nothing behind the last."""
    size, position = os.fstat(file.fileno()).st_size, 0
    members: dict[str, Member] = {}
    while (info := _header(file, position)) is not None:
        _check(info.type in {tarfile.REGTYPE, tarfile.AREGTYPE}, f"{info.name!r} is no ordinary file")
        _check(_NAME.fullmatch(info.name) is not None, f"{info.name!r} is no name of a member")
        _check(info.name not in members, f"{info.name} is there twice")
        _check(len(members) < _MAX_MEMBERS, f"it has more than {_MAX_MEMBERS} members")
        members[info.name] = member = Member(position + _BLOCK, info.size)
        _check(0 <= info.size <= size - member.start, f"it ends within {info.name}")
        position = member.start + info.size + -info.size % _BLOCK
    rest = _read(file, Member(position, min(size - position, tarfile.RECORDSIZE + 1)))
    _check(2 * _BLOCK <= len(rest) <= tarfile.RECORDSIZE and not any(rest), "something follows its last member")
    return members


def _header(file: IO[bytes], position: int) -> tarfile.TarInfo | None:
    """Return what a member's header says, None at the end of the archive; tarfile's own reader would obey it."""
    file.seek(position)
    block = file.read(_BLOCK)
    if block == bytes(_BLOCK):
        return None
    try:
        return tarfile.TarInfo.frombuf(block, "ascii", "surrogateescape")
    except tarfile.HeaderError as error:
        raise InvalidArchive(f"there is no member at byte {position} ({error}): it is cut short or no tar") from error


def _read_manifest(data: bytes) -> Manifest:
    try:
        manifest = Manifest.from_json(data)
    except InvalidManifest as error:
        raise InvalidArchive(f"{MANIFEST}: {error}") from error
    _check(manifest.to_json() == data, f"{MANIFEST} is not canonical")
    return manifest


def _read_version(data: bytes, manifest: Manifest) -> model_store_pb2.ModelVersion:
    try:
        version = json_format.Parse(data, model_store_pb2.ModelVersion())
        parse_version(version.name, "name")
        if version.lineage.base:
            parse_version(version.lineage.base, "lineage.base")
    except (ValueError, RecursionError, json_format.ParseError, InvalidInput) as error:
        raise InvalidArchive(f"{VERSION} is not a version's, or a newer maas's: {error}") from error
    fits = [(stage.name, stage.digest) for stage in version.stages] == [(s.name, s.digest) for s in manifest.stages]
    fits = fits and {file.name: file.digest for file in version.input_files} == manifest.files
    _check(fits and version.manifest_digest == manifest.digest, f"{VERSION} and {MANIFEST} are not of one version")
    return version


def _check_sums(sums: bytes, found: Mapping[str, str]) -> None:
    lines = sums.decode(errors="replace").splitlines()
    said = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    _check(len(said) == len(lines) and said.keys() == found.keys(), f"{SUMS} does not list each other member once")
    for name, digest in found.items():
        named = name.removeprefix(_BLOB) if name.startswith(_BLOB) else digest
        _check(said[name] == digest == named, f"{name} is damaged: its SHA-256 is {digest}")


def _digest(file: IO[bytes], member: Member, on_checked: OnBytes) -> str:
    hasher = hashlib.sha256()
    for chunk in _chunks(file, member):
        hasher.update(chunk)
        on_checked(len(chunk))
    return hasher.hexdigest()


def _chunks(file: IO[bytes], member: Member) -> Iterator[bytes]:
    file.seek(member.start)
    left = member.size
    while left and (chunk := file.read(min(left, _CHUNK))):
        left -= len(chunk)
        yield chunk


def _read(file: IO[bytes], member: Member) -> bytes:
    return b"".join(_chunks(file, member))


def _check(holds: bool, reason: str) -> None:  # noqa: FBT001  reads as an assertion
    if not holds:
        raise InvalidArchive(reason)
