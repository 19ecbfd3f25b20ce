"""Previews: a few rows of every label, small enough to send."""

from __future__ import annotations

import io
from collections import Counter

import pytest
from maas.training.v1 import training_pb2 as pb
from PIL import Image

from tests.training_service.making import photos, tar_of
from tests.training_service.running import RunningService, refused
from tests.training_service.test_sources import INVALID, MISSING


def preview(service: RunningService, name: str = "datasets/photos", **wanted: object) -> list[pb.Thumbnail]:
    """Return the thumbnails of a dataset."""
    request = pb.PreviewDatasetRequest(name=name, **wanted)  # type: ignore[arg-type]
    return list(service.training.PreviewDataset(request).thumbnails)


def test_labels_get_alike_and_thumbnails_are_small(service: RunningService) -> None:
    """A label with few gives what it has; they come by label and split, and are JPEGs of the rows."""
    service.upload(tar_of(photos(12, ("blue", "red")) | photos(3, ("green",))))
    found = preview(service, num_images=11, edge=32)
    assert Counter(each.row.label for each in found) == {"blue": 4, "green": 3, "red": 4}
    order = ["train", "validation", "test"]
    keys = [(each.row.label, order.index(each.row.split), each.row.path) for each in found]
    assert keys == sorted(keys)
    rows, colours = service.rows(), {"blue": 2, "green": 1, "red": 0}
    for each in found:
        assert each.row == rows[each.row.path]
        with Image.open(io.BytesIO(each.jpeg)) as image:
            assert (image.format, max(image.size)) == ("JPEG", 32)
            middle = image.getpixel((image.width // 2, image.height // 2))
        assert isinstance(middle, tuple)
        assert middle.index(max(middle)) == colours[each.row.label]
    assert preview(service, num_images=11, edge=32) == found


def test_one_split_and_fewer_images_than_labels(service: RunningService) -> None:
    """The first labels have one each then."""
    service.upload(tar_of(photos(6, ("blue", "green", "red"))))
    assert {each.row.split for each in preview(service, split="test")} == {"test"}
    assert [each.row.label for each in preview(service, num_images=2)] == ["blue", "green"]
    assert len(preview(service)) == 18


@pytest.mark.parametrize("field", ["num_images", "edge", "split"])
def test_what_cannot_be_shown_is_refused(service: RunningService, field: str) -> None:
    """Fields out of their range, and a dataset that is not there."""
    service.upload(tar_of(photos(4)))
    with refused(INVALID, fields=[field]):
        preview(service, **{field: "most" if field == "split" else -1})
    with refused(MISSING):
        preview(service, "datasets/none")
