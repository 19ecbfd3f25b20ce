"""Datasets that are appended to: nothing is stored twice, and a row stays in the split that it was in."""

from __future__ import annotations

import hashlib

import grpc
import pytest
from maas.training.v1 import training_pb2 as pb

from model_store.registry.datasets import DatasetStore
from model_store.upkeep.fsck import Checker
from model_store.upkeep.gc import Collector
from tests.model_store.making import age
from tests.training_service.datasets.test_dataset_splits import encoded_anew
from tests.training_service.making import photos, picture, tar_of
from tests.training_service.running import RunningService, refused, split_of
from training_service.datasets.manifest import read_manifest
from training_service.datasets.packs import PackedRows

INVALID = grpc.StatusCode.INVALID_ARGUMENT


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
    digest = service.training.GetDataset(pb.GetDatasetRequest(name=f"datasets/{dataset_id}")).digest
    manifest = read_manifest(service.store.blobs, digest)
    return {row.sha256: row for row in manifest.rows}


def test_rows_stay_in_their_splits_and_new_ones_are_dealt(service: RunningService) -> None:
    """Both are read from their own packs, and the shares are those of the whole."""
    parent = service.upload(tar_of(photos(10)), split=pb.SplitSpec(seed=5))
    child = append(service, more(10))
    assert (child.parent, child.split) == ("datasets/photos", parent.split)
    assert (child.example_count, child.size_bytes) == (40, sum(map(len, [*photos(10).values(), *more(10).values()])))
    assert [(each.examples.train, each.examples.validation, each.examples.test) for each in child.labels] == [
        (12, 3, 5)
    ] * 2
    old, new = by_digest(service, "photos"), by_digest(service, "more")
    assert all(new[digest].split == row.split and new[digest].pack == row.pack for digest, row in old.items())
    with PackedRows(service.store.blobs, list(new.values())) as images:
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
    assert len({row.pack for row in by_digest(service, "most").values()}) == 3


def test_shared_packs_are_whole_for_upkeep(service: RunningService) -> None:
    """The checker adds them up for both, and the collector leaves them."""
    service.upload(tar_of(photos(4)))
    append(service, more(4))
    database = service.store._database
    assert Checker(database, service.store.blobs).check(deep=True).problems == ()
    age(service.store.blobs)
    assert Collector(database, service.store.blobs).collect().num_blobs == 0
    packs = [set(DatasetStore(database, service.store.blobs).get(each).packs) for each in ("photos", "more")]
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
