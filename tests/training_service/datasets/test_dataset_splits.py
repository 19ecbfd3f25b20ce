"""Splits of uploaded datasets: the user's own are kept, and near duplicates stay together."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable

import grpc
import numpy as np
import pytest
from maas.training.v1 import training_pb2 as pb

from model_store.modalities.image.decoding import decode_image
from tests.training_service.making import picture, tar_of, zip_of
from tests.training_service.running import RunningService, refused, split_of

INVALID = grpc.StatusCode.INVALID_ARGUMENT


def photos_in(folders: Iterable[str], num_each: int = 4, start: int = 0) -> dict[str, bytes]:
    """Return photos of two labels below each of these folders, all different."""
    return {
        f"{folder}{label}/{seed}.png": picture(label, seed + 100 * number)
        for number, folder in enumerate(folders)
        for label in ("blue", "red")
        for seed in range(start, start + num_each)
    }


def in_splits(service: RunningService) -> dict[str, int]:
    """Return how many rows each split has."""
    return dict(Counter(split_of(row) for row in service.rows().values()))


def encoded_anew(data: bytes) -> bytes:
    """Return a picture as a JPEG."""
    file = io.BytesIO()
    decode_image(data, max_pixels=10**6).save(file, "JPEG", quality=90)
    return file.getvalue()


def test_folders_of_splits_are_kept(service: RunningService) -> None:
    """Labels are those within them, and every row is where its folder says."""
    dataset = service.upload(tar_of(photos_in(["my/train/", "my/val/", "my/test/"])))
    assert (dataset.split_source, [each.label for each in dataset.labels]) == (pb.SPLIT_SOURCE_FOLDERS, ["blue", "red"])
    names = {"train": "train", "val": "validation", "test": "test"}
    assert all(split_of(row) == names[path.split("/")[0]] for path, row in service.rows().items())
    assert [(each.examples.train, each.examples.validation, each.examples.test) for each in dataset.labels] == [
        (4, 4, 4)
    ] * 2


def test_a_missing_validation_is_dealt_out_of_training(service: RunningService) -> None:
    """The user's test stays as it is."""
    service.upload(tar_of(photos_in(["train/", "test/"], 8)))
    splits = {path: split_of(row) for path, row in service.rows().items()}
    assert all((split == "test") == path.startswith("test/") for path, split in splits.items())
    assert in_splits(service) == {"train": 12, "validation": 4, "test": 16}


def test_a_split_file_is_kept(service: RunningService) -> None:
    """It decides, whatever the seed, and is no rejected file."""
    files = photos_in([""], 6)
    chosen = {path: ("train", "val", "test")[number % 3] for number, path in enumerate(files)}
    lines = "".join(f"{path},{split}\n" for path, split in chosen.items())
    dataset = service.upload(zip_of({"splits.csv": f"path,split\n{lines}".encode(), **files}))
    assert (dataset.split_source, dataset.example_count, dataset.rejected_file_count) == (pb.SPLIT_SOURCE_FILE, 12, 0)
    assert {path: split_of(row).replace("validation", "val") for path, row in service.rows().items()} == chosen


def test_of_equal_files_the_one_that_is_held_out_stays(service: RunningService) -> None:
    """Or the test would hold what was learnt."""
    files = photos_in(["train/", "val/", "test/"])
    dataset = service.upload(tar_of(files | {"train/red/copy.png": files["test/red/0.png"]}))
    rejected = {each.path: each.reason for each in dataset.rejected_files}
    assert rejected == {"train/red/copy.png": "the same image as test/red/0.png"}


@pytest.mark.parametrize(
    ("files", "text"),
    [
        (photos_in(["val/", "test/"]), "no image to train on of"),
        (photos_in(["train/"]) | {"test/green/1.png": picture("green")}, "no image to train on of green (1)"),
        (photos_in(["train/", "test/"], 1), "leaves no image for validation"),
        (photos_in([""]) | {"splits.csv": b"path,split\n"}, "does not name: it must name every image"),
    ],
)
def test_splits_that_cannot_be_kept_are_refused(service: RunningService, files: dict[str, bytes], text: str) -> None:
    """The reason says what is wrong, and nothing stays."""
    with refused(INVALID, text, fields=["archive"]):
        service.upload(tar_of(files))
    assert not service.training.ListDatasets(pb.ListDatasetsRequest()).datasets


def test_near_duplicates_are_dealt_together(service: RunningService) -> None:
    """Every picture comes a second time as a JPEG: both are in one split, for any seed, and the summary says so."""
    files = photos_in([""], 8)
    copies = {path.replace(".png", "-again.jpg"): encoded_anew(data) for path, data in files.items()}
    for seed in range(3):
        dataset = service.upload(tar_of(files | copies), f"seed-{seed}", pb.SplitSpec(seed=seed))
        rows = service.rows(f"seed-{seed}")
        assert all(rows[path].split == rows[path.replace(".png", "-again.jpg")].split for path in files)
        assert (dataset.near_duplicate_count, dataset.split_near_duplicate_count) == (32, 0)
        assert {tuple(group.sources) for group in dataset.near_duplicates} == {
            (path.replace(".png", "-again.jpg"), path) for path in files
        }
    (listed, *_) = service.training.ListDatasets(pb.ListDatasetsRequest()).datasets
    assert (listed.near_duplicate_count, len(listed.near_duplicates)) == (32, 0)


def test_near_duplicates_in_the_users_splits_are_reported(service: RunningService) -> None:
    """They stay where the user has put them."""
    files = photos_in(["train/", "val/", "test/"])
    dataset = service.upload(tar_of(files | {"test/red/again.jpg": encoded_anew(files["train/red/0.png"])}))
    assert (dataset.near_duplicate_count, dataset.split_near_duplicate_count) == (2, 2)
    assert split_of(service.rows()["test/red/again.jpg"]) == "test"


def test_sizes_and_colours_are_summed_up(service: RunningService) -> None:
    """As NumPy has them of the same pixels, each image counting alike."""
    files = photos_in([""], 3) | {"red/wide.png": picture("red", 7, size=(150, 100))}
    dataset = service.upload(tar_of(files))
    assert (dataset.image.width.min, dataset.image.width.median, dataset.image.width.max) == (90, 90, 150)
    assert (dataset.image.height.min, dataset.image.height.median, dataset.image.height.max) == (80, 80, 100)
    images = [np.asarray(decode_image(data, max_pixels=10**6)) / 255 for data in files.values()]
    mean = np.mean([image.mean(axis=(0, 1)) for image in images], axis=0)
    square = np.mean([(image**2).mean(axis=(0, 1)) for image in images], axis=0)
    np.testing.assert_allclose(dataset.image.pixel_mean, mean, atol=1e-6)
    np.testing.assert_allclose(dataset.image.pixel_std, np.sqrt(square - mean**2), atol=1e-6)
