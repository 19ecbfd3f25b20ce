"""Datasets that are read where they lie: below what the operator allows, and nowhere else."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import fsspec
import grpc
import pytest
from maas.training.v1 import training_pb2 as pb

from model_store.errors import InvalidInput
from tests.training_service.making import photos, tar_of, zip_of
from tests.training_service.running import TIMEOUT, RunningService, refused, running_service, settings_of
from training_service.datasets.files.archives import ArchiveLimits
from training_service.datasets.files.sources import NotAllowed, Sources

DENIED, INVALID = grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.INVALID_ARGUMENT
MISSING, FULL = grpc.StatusCode.NOT_FOUND, grpc.StatusCode.RESOURCE_EXHAUSTED
LIMITS = ArchiveLimits(max_unpacked_bytes=10_000_000, max_files=100, max_file_bytes=1_000_000)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the service may read, beside one that it may not."""
    outside = tmp_path_factory.mktemp("disk")
    write(outside / "secret", photos())
    (outside / "data").mkdir()
    return outside / "data"


@pytest.fixture(scope="module")
def memory() -> str:
    """The URL of a file system of this process."""
    return f"memory://{uuid.uuid4().hex}"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, place: Path, memory: str) -> Iterator[RunningService]:
    """A service that may read two places."""
    limits = {"max_archive_bytes": 2_000_000, "max_files": 50, "max_file_bytes": 500_000}
    roots = {"dataset_roots": f"{place.as_uri()}, {memory}/allowed"}
    with running_service(tmp_path_factory.mktemp("home"), num_concurrent_jobs=0, **limits, **roots) as running:
        yield running


def write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files below a folder."""
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)


def register(service: RunningService, uri: str, dataset_id: str = "", **more: object) -> pb.Dataset:
    """Register what lies at a URL, under an id of its own where none is given."""
    dataset_id = dataset_id or f"d-{uuid.uuid4().hex}"
    request = pb.RegisterDatasetRequest(dataset_id=dataset_id, uri=uri, **more)  # type: ignore[arg-type]
    return service.training.RegisterDataset(request, timeout=TIMEOUT)


def test_a_folder_and_an_archive_are_what_their_upload_is(service: RunningService, place: Path) -> None:
    """The digest is the same, and the dataset says where it came from."""
    files = photos(6) | {"blue/notes.txt": b"no image"}
    write(place / "photos", files)
    (place / "photos.tar.gz").write_bytes(tar_of(files, gzipped=True))
    (place / "photos.zip").write_bytes(zip_of(files))
    uploaded = service.upload(tar_of(files), "uploaded", pb.SplitSpec(seed=3))
    assert uploaded.uri == ""
    for name in ("photos", "photos/", "photos.tar.gz", "photos.zip"):
        dataset = register(service, f"{place.as_uri()}/{name}", split=pb.SplitSpec(seed=3))
        assert (dataset.digest, dataset.uri) == (uploaded.digest, f"{place.as_uri()}/{name}".rstrip("/"))
        assert [each.path for each in dataset.rejected_files] == ["blue/notes.txt"]
    assert register(service, f"{place}/photos", split=pb.SplitSpec(seed=3)).digest == uploaded.digest


def test_a_folder_can_be_appended(service: RunningService, place: Path) -> None:
    """As an archive can."""
    write(place / "first", photos(4))
    write(place / "second", photos(8))
    parent = register(service, f"{place.as_uri()}/first", "parent")
    child = register(service, f"{place.as_uri()}/second", parent=parent.name)
    assert (child.parent, child.example_count, parent.example_count) == (parent.name, 16, 8)


@pytest.mark.parametrize(
    "path",
    [
        "/../secret",
        "/x/../../secret",
        "/%2e%2e/secret",
        "/./photos",
        "//secret",
        "/a\\b",
        "/a?b",
        "/a*",
        "/a::file:///b",
    ],
)
def test_a_path_that_may_climb_is_refused(service: RunningService, place: Path, path: str) -> None:
    """Before anything is opened."""
    with refused(INVALID, fields=["uri"]):
        register(service, place.as_uri() + path)


@pytest.mark.parametrize("uri", ["", "photos", "://x", "file://host/data"])
def test_what_is_no_url_is_refused(service: RunningService, uri: str) -> None:
    """And told what one looks like."""
    with refused(INVALID, "file:///data/flowers", fields=["uri"]):
        register(service, uri)


def test_what_is_below_no_root_is_refused(service: RunningService, place: Path, memory: str) -> None:
    """Whether it exists or not, and though its name begins as a root's."""
    write(place.with_name("data-2"), photos(4))
    for uri in (
        (place.parent / "secret").as_uri(),
        (place.parent / "nothing").as_uri(),
        place.with_name("data-2").as_uri(),
        f"{memory}/allowed-2",
        f"local://{place}",
        "s3://bucket/photos",
    ):
        with refused(DENIED, "MAAS_TRAINING_DATASET_ROOTS"):
            register(service, uri)


def test_no_link_is_followed(service: RunningService, place: Path) -> None:
    """A link to a folder outside or inside, on the way to it, as an archive, or among the images; nor a pipe."""
    write(place / "images", photos(4))
    (place / "climbing").symlink_to(place.parent / "secret")
    (place / "sideways").symlink_to(place / "images")
    for name in ("climbing", "climbing/blue", "sideways"):
        with refused(MISSING, "a link leads there"):
            register(service, f"{place.as_uri()}/{name}")
    (place.parent / "secret.tar").write_bytes(tar_of(photos(4)))
    (place / "linked.tar").symlink_to(place.parent / "secret.tar")
    with refused(MISSING):
        register(service, f"{place.as_uri()}/linked.tar")
    for name in ("link", "folder", "pipe"):
        write(place / f"with-{name}", photos(4))
    (place / "with-link" / "red" / "x.png").symlink_to(place.parent / "secret" / "red" / "0.png")
    (place / "with-folder" / "green").symlink_to(place.parent / "secret" / "red")
    os.mkfifo(place / "with-pipe" / "red" / "x.png")
    for name, path in (("link", "red/x.png"), ("folder", "green"), ("pipe", "red/x.png")):
        with refused(INVALID, f"'{path}', which is a link or a device", fields=["uri"]):
            register(service, f"{place.as_uri()}/with-{name}")


def test_what_is_not_there_is_told(service: RunningService, place: Path, memory: str) -> None:
    """Also an empty folder."""
    (place / "empty").mkdir()
    for uri in (f"{place.as_uri()}/nowhere", f"{place.as_uri()}/empty", f"{memory}/allowed/nowhere"):
        with refused(MISSING, uri):
            register(service, uri)


def test_the_limits_are_those_of_uploads(service: RunningService, place: Path) -> None:
    """The size of an archive and of an image, and the number of files."""
    (place / "large.tar").write_bytes(bytes(2_000_001))
    with refused(FULL, "over the limit of 2000000 bytes"):
        register(service, f"{place.as_uri()}/large.tar")
    write(place / "many", {f"a/{number}": b"" for number in range(51)})
    with refused(INVALID, "more than 50 files", fields=["uri"]):
        register(service, f"{place.as_uri()}/many")
    write(place / "big", photos(4) | {"red/big.png": bytes(500_001)})
    (rejected,) = register(service, f"{place.as_uri()}/big").rejected_files
    assert (rejected.path, rejected.reason) == ("red/big.png", "the file is larger than this service takes")


def test_a_service_without_roots_says_how_to_allow_some(tmp_path: Path) -> None:
    """Nothing is allowed by default."""
    assert settings_of(tmp_path).dataset_roots == ()
    with pytest.raises(NotAllowed, match="MAAS_TRAINING_DATASET_ROOTS=file:///data"):
        Sources((), LIMITS, max_archive_bytes=1).find(tmp_path.as_uri())


@pytest.mark.parametrize("root", ["data", "file:///data/../etc", "nowhere://x"])
def test_a_root_that_cannot_be_one_ends_the_start(root: str) -> None:
    """Not the first request."""
    with pytest.raises(InvalidInput, match="dataset_roots"):
        Sources((root,), LIMITS, max_archive_bytes=1)


def test_another_file_system_is_read(service: RunningService, memory: str) -> None:
    """By its own listing; names that are patterns elsewhere are names, and what lies beside is left."""
    files = photos(6) | {"red/photo[1].png": photos(7)["red/6.png"], "red/empty.png": b""}
    uploaded = service.upload(tar_of(files), "remote")
    for folder in ("photos", "photos-2"):
        for path, data in files.items():
            with fsspec.open(f"{memory}/allowed/{folder}/{path}", "wb") as file:
                file.write(data)
    with fsspec.open(f"{memory}/allowed/photos.tar", "wb") as file:
        file.write(tar_of(files))
    for name in ("photos", "photos.tar"):
        assert register(service, f"{memory}/allowed/{name}").digest == uploaded.digest


def test_a_bucket_is_read(tmp_path: Path, s3_url: str) -> None:
    """A real server of S3's protocol: folder and archive."""
    files = photos(6)
    target = fsspec.filesystem("s3", skip_instance_cache=True)
    for path, data in files.items():
        target.pipe_file(f"{s3_url}/photos/{path}", data)
    target.pipe_file(f"{s3_url}/photos.tar", tar_of(files))
    (tmp_path / "home").mkdir()
    with running_service(tmp_path / "home", num_concurrent_jobs=0, dataset_roots=s3_url) as service:
        uploaded = service.upload(tar_of(files))
        for name in ("photos", "photos.tar"):
            assert register(service, f"{s3_url}/{name}").digest == uploaded.digest
        with refused(MISSING):
            register(service, f"{s3_url}/nothing")


def test_a_repeated_request_makes_one_dataset(service: RunningService, place: Path) -> None:
    """It returns the first dataset, though what lies there is gone; another request finds the name taken."""
    write(place / "once", photos(5))
    made = register(service, f"{place.as_uri()}/once", "once", request_id="r 1")
    shutil.rmtree(place / "once")
    assert register(service, f"{place.as_uri()}/once", "once", request_id="r 1") == made
    with refused(grpc.StatusCode.ALREADY_EXISTS, "datasets/once exists"):
        register(service, f"{place.as_uri()}/once", "once", request_id="r 2")
    with refused(MISSING):
        register(service, f"{place.as_uri()}/once", request_id="r 1")
    with refused(INVALID, fields=["request_id"]):
        register(service, f"{place.as_uri()}/once", request_id="x" * 129)
