"""Previews: a few rows of every label, small enough to send."""

from __future__ import annotations

import io
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from maas.training.v1 import training_pb2 as pb
from PIL import Image, PngImagePlugin

from model_store.errors import DamagedStore
from model_store.modalities.image.spec import ImageInputSpec
from tests.training_service.datasets.files.test_sources import INVALID, MISSING
from tests.training_service.making import photos, tar_of
from tests.training_service.running import RunningService, refused, split_of
from training_service.arrays.array_cache import ArrayCache
from training_service.datasets.manifest import read_manifest
from training_service.modalities import MODALITIES
from training_service.modalities.prepared_rows import prepare_dataset


def preview(service: RunningService, name: str = "datasets/photos", **wanted: object) -> list[pb.PreviewedRow]:
    """Return some rows of a dataset, as people see them."""
    request = pb.PreviewDatasetRequest(name=name, **wanted)  # type: ignore[arg-type]
    return list(service.training.PreviewDataset(request).rows)


def test_labels_get_alike_and_thumbnails_are_small(service: RunningService) -> None:
    """A label with few gives what it has; they come by label and split, and are JPEGs of the rows."""
    service.upload(tar_of(photos(12, ("blue", "red")) | photos(3, ("green",))))
    found = preview(service, example_count=11, edge=32)
    assert Counter(each.row.target.label for each in found) == {"blue": 4, "green": 3, "red": 4}
    order = ["train", "validation", "test"]
    keys = [(each.row.target.label, order.index(split_of(each.row)), each.row.path) for each in found]
    assert keys == sorted(keys)
    rows, colours = service.rows(), {"blue": 2, "green": 1, "red": 0}
    for each in found:
        assert each.row == rows[each.row.path]
        with Image.open(io.BytesIO(each.jpeg)) as image:
            assert (image.format, max(image.size)) == ("JPEG", 32)
            middle = image.getpixel((image.width // 2, image.height // 2))
        assert isinstance(middle, tuple)
        assert middle.index(max(middle)) == colours[each.row.target.label]
    assert preview(service, example_count=11, edge=32) == found


def test_one_split_and_fewer_images_than_labels(service: RunningService) -> None:
    """The first labels have one each then."""
    service.upload(tar_of(photos(6, ("blue", "green", "red"))))
    assert {split_of(each.row) for each in preview(service, split=pb.SPLIT_TEST)} == {"test"}
    assert [each.row.target.label for each in preview(service, example_count=2)] == ["blue", "green"]
    assert len(preview(service)) == 18


@pytest.mark.parametrize("field", ["example_count", "edge", "split"])
def test_what_cannot_be_shown_is_refused(service: RunningService, field: str) -> None:
    """Fields out of their range, and a dataset that is not there."""
    service.upload(tar_of(photos(4)))
    with refused(INVALID, fields=[field]):
        preview(service, **{field: 9 if field == "split" else -1})
    with refused(MISSING):
        preview(service, "datasets/none")


def test_a_stored_image_that_is_not_decoded_any_more_is_named(
    service: RunningService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another release of a decoder may refuse what the one before took: previews and training say which image it is."""
    digest = service.upload(tar_of(photos(3))).digest
    manifest = read_manifest(service.store.blobs, digest)

    def load(_: Image.Image) -> None:
        raise AssertionError

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", load)
    with refused(grpc.StatusCode.DATA_LOSS, "the dataset's image 'blue/"):
        preview(service)
    with ThreadPoolExecutor(1) as threads, pytest.raises(DamagedStore, match=r"blue/\d\.png.*AssertionError"):
        prepare_dataset(
            service.store.blobs,
            digest,
            manifest,
            MODALITIES["image"],
            ImageInputSpec(64, 64),
            cache=ArrayCache(tmp_path, 10**9),
            threads=threads,
            max_size=10**6,
            on_rows=lambda _: None,
        )
