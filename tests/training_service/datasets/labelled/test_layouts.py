"""What an archive's paths and its split file say, and what is refused as a contradiction."""

from __future__ import annotations

from functools import partial

import pytest

from model_store.errors import InvalidInput
from training_service.datasets.labelled import layouts
from training_service.datasets.labelled.layouts import Layout, Place
from training_service.datasets.labelled.table_files import is_table_file
from training_service.datasets.splits import HELD_OUT, Split, SplitSource

TRAIN, VALIDATION, TEST = Split
read_layout = partial(layouts.read_layout, noun="image")


def splits(layout: Layout) -> dict[str, Split | None]:
    """Return the split of each path."""
    return {place.path: place.split for place in layout.places if isinstance(place, Place)}


def labels(layout: Layout) -> set[str]:
    """Return the labels."""
    return {place.target for place in layout.places if isinstance(place, Place)}


NO_FOLDER = "the image is not in a label's folder"
BESIDE = "the image lies beside the folders of splits"


@pytest.mark.parametrize("around", ["", "photos/"])
def test_folders_of_labels_say_nothing_of_splits(around: str) -> None:
    """A folder around everything is taken off; deeper folders belong to the label."""
    layout = read_layout([f"{around}red/1.png", f"{around}blue/day/2.png", f"{around}stray.png"], {})
    assert (layout.split_source, layout.held_out) == (SplitSource.ASSIGNED, HELD_OUT)
    assert layout.places == (Place("red/1.png", "red", None), Place("blue/day/2.png", "blue", None), NO_FOLDER)
    assert layout.remarks == ("labels 'blue' hold folders alone, 'day': are these the labels?",)


@pytest.mark.parametrize("validation", ["val", "valid", "validation", "Val"])
@pytest.mark.parametrize("around", ["", "photos/"])
def test_folders_of_splits_are_kept(around: str, validation: str) -> None:
    """Labels are the folders in them."""
    paths = [f"{around}{split}/red/1.png" for split in ("train", validation, "test")]
    layout = read_layout([*paths, f"{around}train/stray.png"], {})
    assert (layout.split_source, layout.held_out) == (SplitSource.FOLDERS, frozenset())
    assert layout.places == (
        Place("train/red/1.png", "red", TRAIN),
        Place(f"{validation}/red/1.png", "red", VALIDATION),
        Place("test/red/1.png", "red", TEST),
        NO_FOLDER,
    )


def test_what_is_missing_is_dealt() -> None:
    """Out of what was given for training: it is open, the test is not."""
    layout = read_layout(["train/red/1.png", "test/red/2.png"], {})
    assert layout.held_out == {VALIDATION}
    assert splits(layout) == {"train/red/1.png": None, "test/red/2.png": TEST}


def test_trains_and_tests_may_be_labels() -> None:
    """Folders without folders in them, which is remarked on, or one beside others, are labels."""
    layout = read_layout(["train/1.png", "test/2.png", "dog/3.png"], {})
    assert layout.split_source is SplitSource.ASSIGNED
    assert layout.remarks == (
        "labels have the names of splits: 'test', 'train'; folders of splits hold a folder for each label",
    )
    assert read_layout(["train/a/1.png", "bus/a/2.png"], {}).split_source is SplitSource.ASSIGNED


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [
        ("train", "val", "test"),
        ("Training", "Validation", "Testing"),
        ("training_set", "dev", "test_set"),
        ("train-images", "valid", "TEST DATA"),
    ],
)
@pytest.mark.parametrize("around", ["", "photos/", "download/photos/"])
def test_splits_are_found_whatever_lies_beside_them(train: str, validation: str, test: str, around: str) -> None:
    """A stray image and a folder of examples do not make train, validation and test labels; both are left out."""
    inside = [f"{each}/{label}/1.png" for each in (train, validation, test) for label in ("red", "blue")]
    stray = ["cover.png", "examples/red/1.png", "examples/2.png", f"{train}/3.png"]
    layout = read_layout([f"{around}{path}" for path in (*inside, *stray)], {})
    assert (layout.split_source, labels(layout), layout.around) == (SplitSource.FOLDERS, {"red", "blue"}, around)
    assert list(splits(layout).values()) == [TRAIN, TRAIN, VALIDATION, VALIDATION, TEST, TEST]
    assert layout.places[6:] == (NO_FOLDER, BESIDE, BESIDE, NO_FOLDER)


def test_an_image_beside_the_folder_around_everything_hides_neither_labels_nor_splits() -> None:
    """It is left out, in a folder of its own too."""
    inside = ["photos/train/red/1.png", "photos/test/red/2.png"]
    assert labels(read_layout(["cover.png", *inside], {})) == {"red"}
    layout = read_layout(["cover.png", "photos/red/1.png", "photos/blue/2.png"], {})
    assert (labels(layout), layout.places[0]) == ({"red", "blue"}, NO_FOLDER)


def test_folders_of_splits_may_lie_in_folders_of_labels() -> None:
    """Where all labels have them."""
    paths = ["red/train/1.png", "red/test/2.png", "blue/train/day/3.png", "blue/test/4.png"]
    layout = read_layout(paths, {})
    assert (layout.split_source, layout.held_out, layout.remarks) == (SplitSource.FOLDERS, {VALIDATION}, ())
    assert layout.places[1:] == (
        Place("red/test/2.png", "red", TEST),
        Place("blue/train/day/3.png", "blue", None),
        Place("blue/test/4.png", "blue", TEST),
    )
    assert read_layout([*paths, "green/5.png"], {}).split_source is SplitSource.ASSIGNED


def test_one_split_of_all_is_a_folder_around_everything() -> None:
    """Its images are dealt."""
    layout = read_layout(["photos/train/red/1.png", "photos/train/blue/2.png"], {})
    assert (layout.split_source, labels(layout)) == (SplitSource.ASSIGNED, {"red", "blue"})


def test_folders_of_folders_are_remarked_on() -> None:
    """Labels may be one folder deeper than was thought."""
    layout = read_layout(["batch 1/red/1.png", "batch 1/blue/2.png", "batch 2/red/3.png", "cats/1.png"], {})
    assert labels(layout) == {"batch 1", "batch 2", "cats"}
    remark = "labels 'batch 1', 'batch 2' hold folders alone, 'blue', 'red': are these the labels?"
    assert layout.remarks == (remark,)


def test_a_split_file_may_write_accents_in_two_characters() -> None:
    """As macOS does; the paths of the archive are in the one form already."""
    composed, apart = "caf\u00e9/1.png", "cafe\u0301/1.png"
    data = f"path,split\n{apart},train\nred/2.png,test\n".encode()
    assert splits(read_layout([composed, "red/2.png"], {"splits.csv": data})) == {composed: None, "red/2.png": TEST}


PATHS = ["red/1.png", "red/2.png", "blue/3.png"]


@pytest.mark.parametrize("around", ["", "photos/"])
def test_a_split_file_is_kept(around: str) -> None:
    """Paths are those below its own folder; spaces, a byte order mark and Windows' separators do no harm."""
    data = "\ufeffpath,split\r\nred/1.png, train\r\nred\\2.png,TEST\r\nblue/3.png,train\r\nblue/broken.png,test\r\n"
    around_paths = [f"{around}{path}" for path in PATHS]
    layout = read_layout(around_paths, {f"{around}splits.csv": data.encode()}, [f"{around}blue/broken.png"])
    assert (layout.split_source, layout.held_out) == (SplitSource.FILE, {VALIDATION})
    assert splits(layout) == {"red/1.png": None, "red/2.png": TEST, "blue/3.png": None}


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("", "first line is not path,split"),
        ("file,set\nred/1.png,train\n", "first line is not path,split"),
        ("path,split\nred/1.png,some\n", "split 'some' in line 2"),
        ("path,split\nred/1.png\n", "split 'None' in line 2"),
        ("path,split\nred/1.png,train\nred/1.png,test\n", "puts 'red/1.png' into two splits"),
        ("path,split\nred/1.png,train\nred/2.png,test\nblue/3.png,val\nblue/4.png,val\n", "has no 'blue/4.png'"),
        ("path,split\nred/1.png,train\nred/2.png,test\n", "has 'blue/3.png', which its splits.csv does not name"),
        ("path,split\n../red/1.png,train\n", "has no '../red/1.png'"),
        ('path,split\n"' + "x" * 200_000 + '",train\n', "which its splits.csv names"),
        (b"\xff\xfe\x00", "cannot be read"),
    ],
)
def test_split_files_that_make_no_sense_are_refused(data: str | bytes, text: str) -> None:
    """The reason names the file and the line or path."""
    with pytest.raises(InvalidInput, match="archive: ") as caught:
        read_layout(PATHS, {"splits.csv": data if isinstance(data, bytes) else data.encode()})
    assert text in str(caught.value)


def test_folders_and_a_file_are_too_much() -> None:
    """Nobody knows which is meant."""
    paths = ["train/red/1.png", "test/red/2.png"]
    with pytest.raises(InvalidInput, match="leave one of them out"):
        read_layout(paths, {"splits.csv": b"path,split\ntrain/red/1.png,test\ntest/red/2.png,train\n"})


def test_a_split_file_lies_beside_the_images() -> None:
    """In a label's folder it is a file like any other."""
    assert [is_table_file(path) for path in ("splits.csv", "photos/splits.csv", "photos/red/splits.csv")] == [
        True,
        True,
        False,
    ]
