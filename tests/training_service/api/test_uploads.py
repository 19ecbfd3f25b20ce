"""Uploads: good images become a dataset, bad files are listed, and a bad archive leaves nothing."""

from __future__ import annotations

import hashlib
import io
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import grpc
import pytest
from grpc_status import rpc_status
from maas.training.v1 import training_pb2 as pb
from PIL import Image

from model_store.modalities.image.decoding import decode_image
from model_store.registry.datasets import DatasetStore
from tests.odd_images import PALETTE_WITHOUT_COLOURS
from tests.training_service.making import photos, picture, tar_of, zip_of
from tests.training_service.running import RunningService, refused, settings_of, until, upload_messages
from training_service.api.client_streams import ClientGone
from training_service.api.uploads import Uploads
from training_service.datasets.files.archives import ArchiveLimits
from training_service.datasets.files.sources import Sources
from training_service.datasets.files.upload_spool import UploadSpool
from training_service.datasets.ingest import Ingestor
from training_service.datasets.manifest import read_manifest
from training_service.datasets.packs import PackedRows

INVALID = grpc.StatusCode.INVALID_ARGUMENT
Header = pb.UploadDatasetRequest.Header


def rejected(dataset: pb.Dataset) -> dict[str, str]:
    """Return the reason for each rejected file."""
    return {each.path: each.reason for each in dataset.rejected_files}


def test_an_upload_becomes_a_dataset(service: RunningService) -> None:
    """Labels are sorted and counted by split, and the dataset can be got, listed and read row by row."""
    dataset = service.upload(tar_of(photos(8)), split=pb.SplitSpec(test_fraction=0.5, seed=3))
    counts = [
        (each.label, each.examples.train, each.examples.validation, each.examples.test) for each in dataset.labels
    ]
    assert counts == [("blue", 3, 1, 4), ("red", 3, 1, 4)]
    assert (dataset.name, dataset.example_count, dataset.rejected_file_count) == ("datasets/photos", 16, 0)
    rows = sum(len(data) for data in photos(8).values())
    assert rows < dataset.size_bytes < rows + 100 * 8  # half of them are for test, in a pack that says where each lies
    assert (dataset.split.validation_fraction, dataset.split.test_fraction, dataset.split.seed) == (0.15, 0.5, 3)
    assert service.training.GetDataset(pb.GetDatasetRequest(name="datasets/photos")) == dataset
    assert list(service.training.ListDatasets(pb.ListDatasetsRequest()).datasets) == [dataset]


def test_rows_come_in_pages(service: RunningService) -> None:
    """Rows of one split, page by page, with the digests of their bytes."""
    service.upload(tar_of(photos(8)))
    request = pb.ListDatasetRowsRequest(parent="datasets/photos", split=pb.SPLIT_TRAIN, page_size=3)
    rows = []
    while True:
        response = service.training.ListDatasetRows(request)
        rows += response.rows
        if not response.next_page_token:
            break
        request.page_token = response.next_page_token
    files = photos(8)
    assert len(rows) == 10
    assert {row.split for row in rows} == {pb.SPLIT_TRAIN}
    for row in rows:
        assert row.target.label == row.path.split("/")[0]
        assert (row.size_bytes, row.sha256) == (len(files[row.path]), hashlib.sha256(files[row.path]).hexdigest())
    with refused(INVALID, fields=["split"]):
        wrong = pb.ListDatasetRowsRequest(parent="datasets/photos", split=9)  # type: ignore[arg-type]  # no split
        service.training.ListDatasetRows(wrong)


def test_equal_photos_make_equal_datasets(service: RunningService) -> None:
    """The kind of the archive, its order, a folder around it and junk in it do not change the digest; a seed does."""
    files = photos(4)
    digest = service.upload(tar_of(files), "one").digest
    wrapped = {f"my photos/{path}": data for path, data in reversed(files.items())}
    junk = {"__MACOSX/blue/._0.png": b"junk", "my photos/.DS_Store": b"junk", "my photos/red/Thumbs.db": b"junk"}
    again = service.upload(zip_of(wrapped | junk), "two")
    assert (again.digest, again.rejected_file_count) == (digest, 0)
    assert service.upload(tar_of(files), "three", pb.SplitSpec(seed=1)).digest != digest


def test_stored_images_are_those_sent(service: RunningService) -> None:
    """The packs hold each encoded image, byte by byte: one those to calibrate by, the other the rest."""
    files = photos(3)
    digest = service.upload(tar_of(files)).digest
    manifest = read_manifest(service.store.blobs, digest)
    with PackedRows(service.store.blobs, manifest.packs) as images:
        assert {row.path: images.read(row) for row in manifest.rows} == files
    assert len(manifest.packs) == 2
    assert {row.path for row in manifest.rows if row.split == "test"} == {
        row.path for row in manifest.rows if row.pack == manifest.calibration
    }


def test_files_that_are_no_images_are_listed(service: RunningService) -> None:
    """Each bad file is named with its reason, and the good ones make the dataset."""
    bad = {
        "red/broken.jpg": picture("red", 50, "JPEG")[:500],
        "red/text.png": b"not an image",
        "red/empty.png": b"",
        "red/palette.png": PALETTE_WITHOUT_COLOURS,
        "red/huge.png": picture("red", 51, size=(200, 101)),
        "red/heavy.png": bytes(500_001),
        "stray.png": picture("red", 52),
        "red/b\x07d.png": picture("red", 53),
    }
    dataset = service.upload(tar_of(photos(4) | bad))
    reasons = rejected(dataset)
    assert dataset.example_count == 8
    assert dataset.rejected_file_count == len(bad)
    assert "damaged" in reasons["red/broken.jpg"]
    assert "not an image" in reasons["red/text.png"]
    assert "not an image" in reasons["red/empty.png"]
    assert "damaged" in reasons["red/palette.png"]
    assert "limit of 20000 pixels" in reasons["red/huge.png"]
    assert "larger than" in reasons["red/heavy.png"]
    assert "not in a label's folder" in reasons["stray.png"]
    assert "cannot be shown" in reasons[r"red/b\x07d.png"]


def test_copies_are_kept_once_and_contradictions_not_at_all(service: RunningService) -> None:
    """A second copy tells nothing new; an image under two labels tells nothing true."""
    copies = {"red/z.png": picture("red", 0), "blue/x.png": picture("green", 9), "red/x.png": picture("green", 9)}
    dataset = service.upload(tar_of(photos(4) | copies))
    assert dataset.example_count == 8
    assert rejected(dataset) == {
        "red/z.png": "the same image as red/0.png",
        "blue/x.png": "the same image has different labels: blue, red",
        "red/x.png": "the same image has different labels: blue, red",
    }


def test_unusual_images_are_taken(service: RunningService) -> None:
    """Alpha, palette, grey and rotated JPEG images are decoded."""
    unusual = {}
    for name, mode, image_format in (("a", "RGBA", "PNG"), ("p", "P", "GIF"), ("l", "L", "BMP"), ("j", "CMYK", "JPEG")):
        file = io.BytesIO()
        decode_image(picture("red", 60 + ord(name)), max_pixels=10**6).convert(mode).save(file, image_format)
        unusual[f"red/{name}"] = file.getvalue()
    rotated, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    decode_image(picture("red", 99), max_pixels=10**6).save(rotated, "JPEG", exif=exif)
    dataset = service.upload(tar_of(photos(3) | unusual | {"red/rotated.jpg": rotated.getvalue()}))
    assert (dataset.example_count, dataset.rejected_file_count) == (11, 0)


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ({"red/1.png": picture(), "red/2.png": picture(seed=1)}, "2 to 1000 folders of images"),
        (photos(4, ("red",)), "found red"),
        (photos(4) | {"green/1.png": picture("green")}, r"too few of green (1)"),
        ({"red.png": picture()}, "found none"),
        ({"red/1.png": b"text", "blue/1.png": b"text"}, "found none"),
        ({"../red/1.png": picture()}, "'..'"),
        ({"/red/1.png": picture()}, "absolute"),
        ({"red/1.png": bytes(10**6), "blue/1.png": bytes(10**7)}, "more than 100 times"),
    ],
)
def test_bad_archives_are_refused(service: RunningService, files: dict[str, bytes], text: str) -> None:
    """The reason is given for the field `archive`, nothing stays, and the service goes on."""
    with refused(INVALID, text, fields=["archive"]):
        service.upload(zip_of(files))
    assert not service.training.ListDatasets(pb.ListDatasetsRequest()).datasets
    assert service.upload(tar_of(photos(3))).example_count == 6


def test_an_archive_over_the_limit_is_refused(service: RunningService) -> None:
    """The operator's limit is not the caller's mistake."""
    with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "over the limit of 2000000 bytes"):
        service.upload(bytes(2_000_001))


ARCHIVE = tar_of(photos(3))
HEADER = pb.UploadDatasetRequest(header=Header(dataset_id="photos"))
CHUNK = pb.UploadDatasetRequest(chunk=ARCHIVE)
END = pb.UploadDatasetRequest(sha256=hashlib.sha256(ARCHIVE).hexdigest())


@pytest.mark.parametrize(
    ("messages", "field"),
    [
        ([], "header"),
        ([CHUNK], "header"),
        ([pb.UploadDatasetRequest()], "header"),
        ([HEADER], "sha256"),
        ([HEADER, CHUNK], "sha256"),
        ([HEADER, CHUNK, pb.UploadDatasetRequest(sha256="0" * 64)], "sha256"),
        ([HEADER, CHUNK, END, CHUNK], "sha256"),
        ([HEADER, HEADER], "chunk"),
        ([HEADER, pb.UploadDatasetRequest()], "chunk"),
        ([HEADER, pb.UploadDatasetRequest(chunk=bytes(3 * 1024 * 1024 + 1))], "chunk"),
        ([HEADER, pb.UploadDatasetRequest(sha256=hashlib.sha256().hexdigest())], "archive"),
        ([pb.UploadDatasetRequest(header=Header(dataset_id="Photos!"))], "dataset_id"),
        (
            [pb.UploadDatasetRequest(header=Header(dataset_id="a", split=pb.SplitSpec(test_fraction=2)))],
            "split.test_fraction",
        ),
    ],
)
def test_streams_out_of_order_are_refused(
    service: RunningService, messages: list[pb.UploadDatasetRequest], field: str
) -> None:
    """A header, chunks, and the digest of all of them; anything else is named."""
    with refused(INVALID, fields=[field]):
        service.training.UploadDataset(iter(messages))


def test_a_taken_id_is_refused_before_the_bytes_are_read(service: RunningService) -> None:
    """A dataset never changes."""
    service.upload(ARCHIVE)
    with refused(grpc.StatusCode.ALREADY_EXISTS, "datasets/photos exists"):
        service.training.UploadDataset(iter([HEADER]))


def test_a_refusal_of_many_long_labels_reaches_its_caller(service: RunningService) -> None:
    """Each letter of them takes six bytes in gRPC's text of a status, and all of it must fit into 8 KiB."""
    labels = [f"{'ж' * (60 + 2 * number)}{number}" for number in range(20)]
    with pytest.raises(grpc.RpcError) as caught:
        service.upload(
            tar_of({f"{label}/{k}.png": picture("red", 2 * n + k) for n, label in enumerate(labels) for k in range(2)})
        )
    assert caught.value.code() is INVALID, caught.value
    assert labels[0] in caught.value.details()
    status = rpc_status.from_call(caught.value)
    assert status.message == caught.value.details()
    assert status.details


def test_a_client_that_vanishes_leaves_nothing(service: RunningService) -> None:
    """The id is free again, and no temporary file stays."""
    started = iter(upload_messages(ARCHIVE))

    def broken() -> object:
        yield next(started)
        yield next(started)
        raise ConnectionError("the client dies")

    with pytest.raises(grpc.RpcError):
        service.training.UploadDataset(broken())
    assert service.upload(ARCHIVE).example_count == 6
    until(lambda: not list(service.store.blobs.unfinished()))


def test_an_upload_whose_caller_gave_up_is_not_registered(tmp_path: Path) -> None:
    """All bytes may have arrived: what nobody waits for any more must not appear later."""

    def check_client() -> None:
        raise ClientGone("the caller's deadline has passed")

    settings = settings_of(tmp_path)
    with closing(settings.open_database()) as database, ThreadPoolExecutor(1) as threads:
        blobs = settings.open_blobs()
        datasets = DatasetStore(database, blobs)
        ingestor = Ingestor(blobs, threads, max_sizes={"image": 10**6, "values": 10**6})
        limits = ArchiveLimits(max_unpacked_bytes=10**7, max_files=100, max_file_bytes=10**6)
        sources = Sources((), limits, max_archive_bytes=10**7)
        spool = UploadSpool(tmp_path / "uploads", max_bytes=10**8, idle_seconds=60, keep_seconds=60)
        uploads = Uploads(datasets, blobs, ingestor, sources, spool, limits, max_archive_bytes=10**7)
        receiver = uploads.receive("", check_client)
        next(receiver)
        for message in upload_messages(ARCHIVE):
            receiver.send(message)
        with pytest.raises(ClientGone):
            receiver.send(None)
        datasets.check_free("photos")


def test_unknown_datasets_are_not_found(service: RunningService) -> None:
    """The message says how to list those there are."""
    with refused(grpc.StatusCode.NOT_FOUND, "datasets/none"):
        service.training.GetDataset(pb.GetDatasetRequest(name="datasets/none"))
    with refused(INVALID, fields=["name"]):
        service.training.GetDataset(pb.GetDatasetRequest())
    with refused(INVALID, fields=["page_size"]):
        service.training.ListDatasets(pb.ListDatasetsRequest(page_size=1001))
