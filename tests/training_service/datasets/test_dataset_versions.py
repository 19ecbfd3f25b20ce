"""Datasets that are appended to: nothing is stored twice, and a row stays in the split that it was in."""

from __future__ import annotations

import hashlib

import grpc
import numpy as np
import pytest
from maas.training.v1 import training_pb2 as pb

from model_store.calibration import read_rows
from model_store.modalities.image.decoding import decode_image
from model_store.modalities.image.spec import PIXELS, ImageInputSpec, to_pixels
from model_store.upkeep.fsck import Checker
from model_store.upkeep.gc import Collector
from tests.model_store.making import age
from tests.training_service.datasets.test_dataset_splits import encoded_anew
from tests.training_service.making import photos, picture, tar_of
from tests.training_service.running import RunningService, refused, split_of
from training_service.datasets.manifest import DatasetManifest, read_manifest
from training_service.datasets.packs import PackedRows

INVALID = grpc.StatusCode.INVALID_ARGUMENT
DATASETS = ("photos", "more")
SPEC = ImageInputSpec(40, 32)


def more(num_each: int = 6, start: int = 20) -> dict[str, bytes]:
    """Return photos that the parent does not have, under paths that it has."""
    return {
        f"{label}/{seed}.png": picture(label, seed + start) for label in ("blue", "red") for seed in range(num_each)
    }


def append(service: RunningService, files: dict[str, bytes], dataset_id: str = "more") -> pb.Dataset:
    """Append to `photos`."""
    return service.upload(tar_of(files), dataset_id, parent="datasets/photos")


def by_digest(service: RunningService, dataset_id: str) -> dict[str, pb.DatasetRow]:
    """Return the rows of a dataset by the digests of their bytes."""
    return {row.sha256: row for row in manifest_of(service, dataset_id).rows}


def manifest_of(service: RunningService, dataset_id: str) -> DatasetManifest:
    """Return what a dataset is."""
    return read_manifest(service.store.blobs, service.datasets.get(dataset_id).digest)


def test_rows_stay_in_their_splits_and_new_ones_are_dealt(service: RunningService) -> None:
    """Both are read from their own packs, and the shares are those of the whole."""
    parent = service.upload(tar_of(photos(10)), split=pb.SplitSpec(seed=5))
    child = append(service, more(10))
    assert (child.parent, child.split) == ("datasets/photos", parent.split)
    packs = {row.pack for row in by_digest(service, "more").values()}
    assert (child.example_count, child.size_bytes) == (40, sum(map(service.store.blobs.size, packs)))
    assert [(each.examples.train, each.examples.validation, each.examples.test) for each in child.labels] == [
        (12, 3, 5)
    ] * 2
    old, new = by_digest(service, "photos"), by_digest(service, "more")
    assert all(new[digest].split == row.split and new[digest].pack == row.pack for digest, row in old.items())
    with PackedRows(service.store.blobs, (row.pack for row in new.values())) as images:
        for digest, row in new.items():
            assert hashlib.sha256(images.read(row)).hexdigest() == digest
    assert service.training.GetDataset(pb.GetDatasetRequest(name="datasets/photos")) == parent


def test_a_dataset_of_the_same_files_has_the_same_colours(service: RunningService) -> None:
    """What is known of the parent's is added up with the new, without looking at them again."""
    service.upload(tar_of(photos(4)))
    child = append(service, more(4))
    whole = service.upload(tar_of(photos(4) | {f"{path[:-4]}b.png": data for path, data in more(4).items()}), "whole")
    for name in ("pixel_mean", "pixel_std"):
        assert list(getattr(child.image, name)) == pytest.approx(list(getattr(whole.image, name)))
    assert (child.image.width, child.image.height) == (whole.image.width, whole.image.height)


def test_a_copy_of_what_is_there_is_rejected(service: RunningService) -> None:
    """Also under another label; and what is near one of the test is for the test."""
    service.upload(tar_of(photos(10)))
    rows = by_digest(service, "photos").values()
    held_out = next(row for row in rows if row.split == "test")
    copied = next(row for row in rows if row is not held_out and row.path.startswith("blue"))
    near = held_out.path.replace(".png", "-near.jpg")
    other = {"blue": "red", "red": "blue"}[held_out.path.split("/")[0]]
    data = photos(10)[held_out.path]
    child = append(
        service, more() | {"blue/copy.png": photos(10)[copied.path], f"{other}/x.png": data, near: encoded_anew(data)}
    )
    assert {each.path: each.reason for each in child.rejected_files} == {
        "blue/copy.png": f"the same image as {copied.path} of datasets/photos",
        f"{other}/x.png": "the same image has different labels: blue, red",
    }
    assert split_of(service.rows("more")[near]) == "test"


def test_a_new_label_may_come(service: RunningService) -> None:
    """The old rows keep theirs, though its number changes."""
    service.upload(tar_of(photos(4, ("blue", "red"))))
    child = append(service, photos(4, ("green",)))
    assert [each.label for each in child.labels] == ["blue", "green", "red"]
    assert all(path.startswith(row.target.label) for path, row in service.rows("more").items())


def test_versions_go_on(service: RunningService) -> None:
    """A child can be a parent, and its packs are those of all before it."""
    service.upload(tar_of(photos(4)))
    append(service, more(4))
    child = service.upload(tar_of(more(4, 40)), "most", parent="datasets/more")
    assert (child.parent, child.example_count) == ("datasets/more", 24)
    first, second, third = ({row.pack for row in by_digest(service, each).values()} for each in (*DATASETS, "most"))
    assert first < second < third


def test_some_test_rows_are_a_pack_that_versions_are_calibrated_by(service: RunningService) -> None:
    """Evenly spread over the test rows, at most 64, and prepared from the very bytes that the dataset has."""
    service.upload(tar_of(photos(8)), split=pb.SplitSpec(test_fraction=0.5))
    manifest, blobs = manifest_of(service, "photos"), service.store.blobs
    assert [row.split for row in manifest.rows if row.pack == manifest.calibration] == ["test"] * 8
    assert sum(row.split == "test" for row in manifest.rows) == 8
    assert manifest.packs == service.datasets.get("photos").packs
    rows = read_rows(blobs, manifest.calibration, SPEC).arrays[PIXELS]
    kept = [row for row in manifest.rows if row.pack == manifest.calibration]
    for prepared, row in zip(rows, kept, strict=True):
        assert np.array_equal(prepared, to_pixels(decode_image(photos(8)[row.path], max_pixels=10**6), SPEC))


@pytest.mark.parametrize(("num_more", "is_new"), [(2, False), (16, True)])
def test_a_child_is_calibrated_by_more_rows_than_its_parent_or_by_the_same(
    service: RunningService, num_more: int, *, is_new: bool
) -> None:
    """Versions of both then share them."""
    service.upload(tar_of(photos(8)))
    append(service, more(num_more))
    before, after = (manifest_of(service, each) for each in DATASETS)
    assert (after.calibration != before.calibration) == is_new
    chosen = [row for row in after.rows if row.pack == after.calibration]
    assert [row.split for row in chosen] == ["test"] * (8 if is_new else 4)


def test_large_test_rows_are_not_put_apart(service: RunningService, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service would wait for them before it serves a version: their pack is everyone's, and a child is alike."""
    monkeypatch.setattr("training_service.datasets.packs.MAX_PACK_BYTES", 4 * len(picture()))
    service.upload(tar_of(photos(8)))
    append(service, more(1))
    for each in DATASETS:
        manifest = manifest_of(service, each)
        assert manifest.calibration == ""
        assert read_manifest(service.store.blobs, service.datasets.get(each).digest) == manifest


def test_shared_packs_are_whole_for_upkeep(service: RunningService) -> None:
    """The checker adds them up for both, and the collector leaves them."""
    service.upload(tar_of(photos(4)))
    append(service, more(4))
    database = service.store._database
    assert Checker(database, service.store.blobs).check(deep=True).problems == ()
    age(service.store.blobs)
    assert Collector(database, service.store.blobs).collect().num_blobs == 0
    packs = [set(service.datasets.get(each).packs) for each in DATASETS]
    assert packs[0] < packs[1]


def test_what_cannot_be_appended_is_refused(service: RunningService) -> None:
    """A parent that is not there, a deal of its own, and nothing new."""
    with refused(grpc.StatusCode.NOT_FOUND, "datasets/photos does not exist"):
        append(service, photos(4))
    service.upload(tar_of(photos(4)))
    with refused(INVALID, fields=["split"]):
        service.upload(tar_of(more()), "more", pb.SplitSpec(seed=1), parent="datasets/photos")
    with refused(INVALID, fields=["parent"]):
        service.upload(tar_of(more()), "more", parent="photos")
    with refused(INVALID, "no image that is not in the parent", fields=["archive"]):
        append(service, photos(4))
