"""Images that a file beside them says something of: several labels, numbers, or one label each."""

from __future__ import annotations

import grpc
import pytest
from maas.model_store.v1 import model_store_pb2
from maas.training.v1 import training_pb2 as pb

from tests.training_service.making import picture, tar_of
from tests.training_service.running import RunningService, refused, split_of

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NAMES = [f"{colour}{number}.png" for colour in ("red", "blue") for number in range(12)]
IMAGES = {name: picture(name.rstrip("0123456789.png"), number) for number, name in enumerate(NAMES)}


def table(columns: str, *rows: str) -> bytes:
    """Return a CSV file."""
    return "\n".join([columns, *rows]).encode()


LABELS = table(
    "file,red,even", *(f"{name},{int(name[0] == 'r')},{1 - number % 2}" for number, name in enumerate(NAMES))
)
TARGETS = table("file,redness,size", *(f"{name},{number / 7},{-number}" for number, name in enumerate(NAMES)))


@pytest.mark.parametrize("around", ["", "photos/"])
def test_columns_of_labels_make_a_dataset_of_several_labels(service: RunningService, around: str) -> None:
    """Each label has its share in each split, and rows say all labels that they have."""
    dataset = service.upload(
        tar_of({f"{around}{path}": data for path, data in (IMAGES | {"labels.csv": LABELS}).items()})
    )
    assert (dataset.modality, dataset.task) == ("image", model_store_pb2.TASK_MULTI_LABEL)
    assert [each.label for each in dataset.labels] == ["red", "even"]
    for each in dataset.labels:
        assert (each.examples.train, each.examples.validation, each.examples.test) == (7, 2, 3)
    rows = service.rows()
    assert list(rows["red0.png"].target.labels.labels) == ["red", "even"]
    assert list(rows["blue1.png"].target.labels.labels) == []
    assert rows["blue1.png"].target.WhichOneof("target") == "labels"


def test_a_column_may_list_labels(service: RunningService) -> None:
    """Separated by a bar or a semicolon; none is none."""
    listed = table(
        "file,labels", *(f"{name},{'red|odd' if name[0] == 'r' else ';odd;' if 'e1' in name else ''}" for name in NAMES)
    )
    dataset = service.upload(tar_of(IMAGES | {"labels.csv": listed}))
    assert [each.label for each in dataset.labels] == ["odd", "red"]
    assert list(service.rows()["red3.png"].target.labels.labels) == ["odd", "red"]


def test_columns_of_numbers_make_a_dataset_of_targets(service: RunningService) -> None:
    """Targets keep their units, and each split has some of every range."""
    dataset = service.upload(tar_of(IMAGES | {"targets.csv": TARGETS}))
    assert dataset.task == model_store_pb2.TASK_REGRESSION
    assert [(each.name, each.min, each.max) for each in dataset.targets] == [("redness", 0, 23 / 7), ("size", -23, 0)]
    assert dataset.targets[1].mean == pytest.approx(-11.5)
    rows = service.rows()
    assert list(rows[NAMES[14]].target.numbers.values) == [2, -14]
    for split in ("train", "validation", "test"):
        numbers = [row.target.numbers.values[1] for row in rows.values() if split_of(row) == split]
        assert min(numbers) < -11.5 < max(numbers)


def test_one_label_each_is_classification(service: RunningService) -> None:
    """In a column `label` of which no row has a list or nothing; else it has lists of labels, most of them of one."""
    one_each = table("file,label", *(f"{name},{name[:3]}" for name in NAMES))
    dataset = service.upload(tar_of(IMAGES | {"labels.csv": one_each}))
    assert dataset.task == model_store_pb2.TASK_CLASSIFICATION
    assert {path: row.target.label for path, row in service.rows().items()} == {name: name[:3] for name in NAMES}
    for number, last in enumerate((b"blu|red", b"")):
        listed = one_each.removesuffix(b"blu") + last
        several = service.upload(tar_of(IMAGES | {"labels.csv": listed}), f"several-{number}")
        assert several.task == model_store_pb2.TASK_MULTI_LABEL


def test_one_label_each_is_classification_where_that_is_asked_for(service: RunningService) -> None:
    """Images then need no folders."""
    listed = table("file,label", *(f"{name},{name[:3]}" for name in NAMES))
    dataset = service.upload(tar_of(IMAGES | {"labels.csv": listed}), task=model_store_pb2.TASK_CLASSIFICATION)
    assert dataset.task == model_store_pb2.TASK_CLASSIFICATION
    assert [each.label for each in dataset.labels] == ["blu", "red"]


def test_splits_are_those_of_a_column_a_file_or_folders(service: RunningService) -> None:
    """What is missing is assigned out of what trains."""
    splits = ["train", "val", "test", "train"]
    column = table("file,y,split", *(f"{name},{number}.5,{splits[number % 4]}" for number, name in enumerate(NAMES)))
    dataset = service.upload(tar_of(IMAGES | {"targets.csv": column}), "column")
    assert dataset.split_source == pb.SPLIT_SOURCE_COLUMN
    assert {split_of(row) for row in service.rows("column").values()} == {"train", "validation", "test"}
    assert split_of(service.rows("column")["red1.png"]) == "validation"
    split_file = table("path,split", *(f"{name},{splits[number % 4]}" for number, name in enumerate(NAMES)))
    dataset = service.upload(tar_of(IMAGES | {"targets.csv": TARGETS, "splits.csv": split_file}), "file")
    assert dataset.split_source == pb.SPLIT_SOURCE_FILE
    inside = {f"{'test' if number % 3 else 'train'}/{name}": data for number, (name, data) in enumerate(IMAGES.items())}
    targets = table("file,y", *(f"{path},{number}.5" for number, path in enumerate(inside)))
    dataset = service.upload(tar_of(inside | {"targets.csv": targets}), "folders")
    assert dataset.split_source == pb.SPLIT_SOURCE_FOLDERS
    assert (dataset.split_counts.test, dataset.split_counts.validation > 0) == (16, True)


@pytest.mark.parametrize(
    ("files", "task", "text"),
    [
        ({"labels.csv": LABELS, "targets.csv": TARGETS}, 0, "both labels.csv and targets.csv: say which task"),
        ({"labels.csv": LABELS}, model_store_pb2.TASK_REGRESSION, "has no targets.csv, which regression needs"),
        ({}, model_store_pb2.TASK_MULTI_LABEL, "has no labels.csv, which multi_label needs"),
        ({"labels.csv": LABELS + b"\nlost.png,1,0"}, 0, "has no 'lost.png', which its labels.csv names"),
        ({"labels.csv": LABELS.rsplit(b"\n", 1)[0]}, 0, "which its labels.csv does not name"),
        (
            {"labels.csv": LABELS.replace(b",1,0", b",yes,0", 1)},
            0,
            "row 2 (line 3), column 'red': must be 0 or 1, not 'yes'",
        ),
        (
            {"targets.csv": TARGETS.replace(b",-3", b",nan", 1)},
            0,
            "row 4 (line 5), column 'size': must be a number, not 'nan'",
        ),
        ({"labels.csv": b"id,name\n0,red\n1,blue"}, 0, "the first column must be file"),
        ({"labels.csv": LABELS + b"\nred0.png,1,0"}, 0, "names 'red0.png' a second time"),
    ],
)
def test_contradictions_are_refused_with_what_to_do(
    service: RunningService, files: dict[str, bytes], task: int, text: str
) -> None:
    """The message names the file and the cell."""
    with refused(INVALID, text, fields=["archive"]):
        service.upload(tar_of(IMAGES | files), task=task)


def test_a_label_that_few_have_is_refused(service: RunningService) -> None:
    """A label must be in each split."""
    few = table(
        "file,red,rare", *(f"{name},{int(name[0] == 'r')},{int(number < 2)}" for number, name in enumerate(NAMES))
    )
    with refused(INVALID, "at least 3 different images with each label; too few with rare (2)"):
        service.upload(tar_of(IMAGES | {"labels.csv": few}))


def test_what_is_appended_may_list_some_of_the_labels(service: RunningService) -> None:
    """A list by row names no labels of its own: those of all rows are the dataset's."""
    service.upload(tar_of(IMAGES | {"labels.csv": LABELS}))
    more = {f"green{number}.png": picture("green", number) for number in range(4)}
    listed = table("file,labels", *(f"{name},even" for name in more))
    child = service.upload(tar_of(more | {"labels.csv": listed}), "more", parent="datasets/photos")
    assert (child.example_count, {each.label for each in child.labels}) == (28, {"red", "even"})
    rows = service.rows("more")
    assert {tuple(rows[path].target.labels.labels) for path in more} == {("even",)}


def test_what_is_appended_is_of_the_parents_task(service: RunningService) -> None:
    """The same labels, and the parent's rows stay in their splits."""
    service.upload(tar_of(IMAGES | {"labels.csv": LABELS}))
    before = service.rows()
    more = {f"green{number}.png": picture("green", number) for number in range(4)}
    listed = table("file,red,even", *(f"{name},0,1" for name in more))
    child = service.upload(tar_of(more | {"labels.csv": listed}), "more", parent="datasets/photos")
    assert (child.example_count, [each.label for each in child.labels]) == (28, ["red", "even"])
    rows = service.rows("more")
    assert {path: rows[path].split for path in before} == {path: row.split for path, row in before.items()}
    with refused(INVALID, "has no labels.csv, which multi_label needs"):
        service.upload(
            tar_of({f"green/{path}": data for path, data in more.items()}), "other", parent="datasets/photos"
        )
    with refused(INVALID, fields=["task"]):
        service.upload(
            tar_of(more | {"labels.csv": listed}),
            "other",
            parent="datasets/photos",
            task=model_store_pb2.TASK_REGRESSION,
        )
