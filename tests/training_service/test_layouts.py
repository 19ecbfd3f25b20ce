"""What an archive's paths and its split file say, and what is refused as a contradiction."""

from __future__ import annotations

import pytest

from model_store.errors import InvalidInput
from training_service.layouts import HELD_OUT, Layout, LayoutKind, Place, is_split_file, read_layout
from training_service.splits import Split

TRAIN, VALIDATION, TEST = Split


def splits(layout: Layout) -> dict[str, Split | None]:
    """Return the split of each path."""
    return {place.path: place.split for place in layout.places if place is not None}


@pytest.mark.parametrize("around", ["", "photos/"])
def test_folders_of_labels_say_nothing_of_splits(around: str) -> None:
    """A folder around everything is taken off; deeper folders belong to the label."""
    layout = read_layout([f"{around}red/1.png", f"{around}blue/day/2.png", f"{around}stray.png"], {})
    assert (layout.kind, layout.held_out) == (LayoutKind.LABEL_FOLDERS, HELD_OUT)
    assert layout.places == (Place("red/1.png", "red", None), Place("blue/day/2.png", "blue", None), None)


@pytest.mark.parametrize("validation", ["val", "valid", "validation", "Val"])
@pytest.mark.parametrize("around", ["", "photos/"])
def test_folders_of_splits_are_kept(around: str, validation: str) -> None:
    """Labels are the folders in them."""
    paths = [f"{around}{split}/red/1.png" for split in ("train", validation, "test")]
    layout = read_layout([*paths, f"{around}train/stray.png"], {})
    assert (layout.kind, layout.held_out) == (LayoutKind.SPLIT_FOLDERS, frozenset())
    assert layout.places == (
        Place("train/red/1.png", "red", TRAIN),
        Place(f"{validation}/red/1.png", "red", VALIDATION),
        Place("test/red/1.png", "red", TEST),
        None,
    )


def test_what_is_missing_is_dealt() -> None:
    """Out of what was given for training: it is open, the test is not."""
    layout = read_layout(["train/red/1.png", "test/red/2.png"], {})
    assert layout.held_out == {VALIDATION}
    assert splits(layout) == {"train/red/1.png": None, "test/red/2.png": TEST}


def test_trains_and_tests_may_be_labels() -> None:
    """Folders without folders in them, or beside others, are labels."""
    assert read_layout(["train/1.png", "test/2.png"], {}).kind is LayoutKind.LABEL_FOLDERS
    assert read_layout(["train/a/1.png", "bus/a/2.png"], {}).kind is LayoutKind.LABEL_FOLDERS


PATHS = ["red/1.png", "red/2.png", "blue/3.png"]


@pytest.mark.parametrize("around", ["", "photos/"])
def test_a_split_file_is_kept(around: str) -> None:
    """Paths are those below its own folder; spaces, a byte order mark and Windows' separators do no harm."""
    data = "\ufeffpath,split\r\nred/1.png, train\r\nred\\2.png,TEST\r\nblue/3.png,train\r\nblue/broken.png,test\r\n"
    around_paths = [f"{around}{path}" for path in PATHS]
    layout = read_layout(around_paths, {f"{around}splits.csv": data.encode()}, [f"{around}blue/broken.png"])
    assert (layout.kind, layout.held_out) == (LayoutKind.SPLIT_FILE, {VALIDATION})
    assert splits(layout) == {"red/1.png": None, "red/2.png": TEST, "blue/3.png": None}


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("", "first line is not path,split"),
        ("file,set\nred/1.png,train\n", "first line is not path,split"),
        ("path,split\nred/1.png,dev\n", "split 'dev' in line 2"),
        ("path,split\nred/1.png\n", "split 'None' in line 2"),
        ("path,split\nred/1.png,train\nred/1.png,test\n", "puts 'red/1.png' into two splits"),
        ("path,split\nred/1.png,train\nred/2.png,test\nblue/3.png,val\nblue/4.png,val\n", "has no 'blue/4.png'"),
        ("path,split\nred/1.png,train\nred/2.png,test\n", "has 'blue/3.png', which its splits.csv does not name"),
        ("path,split\n../red/1.png,train\n", "has no '../red/1.png'"),
        ('path,split\n"' + "x" * 200_000 + '",train\n', "cannot be read"),
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
    assert [is_split_file(path) for path in ("splits.csv", "photos/splits.csv", "photos/red/splits.csv")] == [
        True,
        True,
        False,
    ]
