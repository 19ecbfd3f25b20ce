"""The layouts of an archive of files: folders of labels, of splits and labels, or a file of splits."""

from __future__ import annotations

import csv
import io
import posixpath
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from model_store.normal_form import normal_form
from training_service.datasets.examples import NamedTarget
from training_service.datasets.labelled.table_files import SPLIT_FILE, refused
from training_service.datasets.split_names import SPLIT_NAMES, given_splits, split_of
from training_service.datasets.splits import HELD_OUT, Split, SplitSource

MAX_LABEL_LENGTH = 200

_COLUMNS = ("path", "split")
_SHOWN = 5


@dataclass(frozen=True)
class Place:
    """An example's path below the folder around everything, its target, and its split and group if there are any."""

    path: str
    target: NamedTarget
    split: Split | None
    group: str = ""


@dataclass(frozen=True)
class Layout:
    """A place for each example, or the reason for none; `held_out` splits are assigned out of training rows.

    `around` is the path of the folders around everything, and `remarks` name folders that may have another meaning.
    """

    split_source: SplitSource
    places: tuple[Place | str, ...]
    held_out: Collection[Split]
    around: str = ""
    remarks: tuple[str, ...] = ()


def read_layout(
    paths: Sequence[str], split_files: Mapping[str, bytes], others: Iterable[str] = (), *, noun: str
) -> Layout:
    """Read the layout from the paths of an archive's examples and its split file; `others` are other files.

    `noun` is the name of one example.

    Folders of splits are `train`, `val` and `test`, or their common names (`valid`, `validation`, `dev`, `Training`,
    `test_set`), with folders of labels in them, or all in folders of labels; files beside them are left out. A missing
    validation or test split is assigned out of training rows. Raises InvalidInput for a split file that cannot be read,
    contradicts folders or itself, or does not name exactly the archive's examples.
    """
    around, in_folders = _found_folders(paths)
    below = [path.removeprefix(around) for path in paths]
    others = [path.removeprefix(around) for path in others]
    chosen = chosen_splits(split_files, around, below, others, noun)
    if chosen is not None and in_folders is not None:
        raise refused(f"has folders of splits and a {SPLIT_FILE}: leave one of them out")
    if chosen is None and in_folders is None:
        return _layout(SplitSource.ASSIGNED, around, below, below, [None] * len(below), HELD_OUT, noun)
    if in_folders is not None:
        read = [in_folders(path) for path in below]
        splits, held_out = given_splits([split for _, split in read])
        return _layout(SplitSource.FOLDERS, around, below, [each for each, _ in read], splits, held_out, noun)
    splits, held_out = given_splits(chosen or ())
    return _layout(SplitSource.FILE, around, below, below, splits, held_out, noun)


def _layout(
    split_source: SplitSource,
    around: str,
    paths: Sequence[str],
    labelled: Sequence[str],
    splits: Sequence[Split | None],
    held_out: Collection[Split],
    noun: str,
) -> Layout:
    """Put the results of the paths together; `labelled` are the paths from their label on, None without a label."""
    places = tuple(_place(path, below, split, noun) for path, below, split in zip(paths, labelled, splits, strict=True))
    placed = [below for below, place in zip(labelled, places, strict=True) if isinstance(place, Place)]
    return Layout(split_source, places, held_out, around, tuple(_remarks(placed)))


_Reader = Callable[[str], tuple[str, Split | None]]


def _found_folders(paths: Sequence[str]) -> tuple[str, _Reader | None]:
    """Return the folders around everything, with a slash, and the reader of label and split from paths below, if any.

    Examples beside a folder around everything do not hide it.
    """
    around, first = "", None
    while True:
        below = [path.removeprefix(around) for path in paths if path.startswith(around)]
        if (reader := _split_folders(below)) is not None:
            return around, reader
        tops = {path.split("/")[0] for path in below if "/" in path}
        if len(tops) != 1 or not any(path.count("/") > 1 for path in below):
            return first or "", None
        (top,) = tops
        around += f"{top}/"
        # One folder may be around all labels; more of them only around folders of splits, or as the split of all.
        first = around if first is None or split_of(top) is not None else first


def _split_folders(paths: Sequence[str]) -> _Reader | None:
    """Return the reader of paths below folders of splits; None without these.

    There must be at least two splits, of which one has folders; beside other folders, one split must be for training.
    """
    # Half a million paths have few folders: the outer two of each, or one.
    folders = {(parts[0], *parts[1:-1][:1]) for path in paths if len(parts := path.split("/", 2)) > 1}
    tops = {split_of(each[0]) for each in folders}
    is_whole = None not in tops or Split.TRAIN in tops
    has_folders = any(split_of(each[0]) is not None and len(each) > 1 for each in folders)
    if len(tops - {None}) > 1 and is_whole and has_folders:
        return _of_split_folder
    inner = {split_of(each[1]) if len(each) > 1 else None for each in folders}
    several = len({each[0] for each in folders}) > 1 and len(inner) > 1
    if several and None not in inner and Split.TRAIN in inner:
        return _of_label_folder
    return None


def _of_split_folder(path: str) -> tuple[str, Split | None]:
    """Return the path below the folder of a split, and the split; None outside of a split."""
    top, _, below = path.partition("/")
    split = split_of(top) if below else None
    return (below if split is not None else ""), split


def _of_label_folder(path: str) -> tuple[str, Split | None]:
    """Return a path without the split's folder in the label's, and the split; None outside of a split."""
    label, *below = path.split("/")
    if len(below) < 2:
        return "", None
    return "/".join([label, *below[1:]]), split_of(below[0])


def _place(path: str, labelled: str, split: Split | None, noun: str) -> Place | str:
    label, separator, _ = labelled.partition("/")
    if "/" in path and not labelled:
        return f"the {noun} lies beside the folders of splits"
    if not separator:
        return f"the {noun} is not in a label's folder"
    if len(label) > MAX_LABEL_LENGTH:
        return f"its folder's name, the label, has more than {MAX_LABEL_LENGTH} characters"
    return Place(path, label, split)


def _remarks(labelled: Iterable[str]) -> Iterator[str]:
    """Yield remarks on folders that may have another meaning."""
    folders: dict[str, set[str]] = {}
    for path in labelled:
        label, *inner = path.split("/")[:-1]
        folders.setdefault(label, set()).add(inner[0] if inner else "")
    if len(splits := sorted(label for label in folders if split_of(label) is not None)) > 1:
        yield f"labels have the names of splits: {shown_paths(splits)}; folders of splits hold a folder for each label"
    if holding := {label: inner for label, inner in sorted(folders.items()) if "" not in inner}:
        inner_folders = sorted(set().union(*holding.values()))
        shown = shown_paths(inner_folders)
        yield f"labels {shown_paths(list(holding))} hold folders alone, {shown}: are these the labels?"


def chosen_splits(
    split_files: Mapping[str, bytes], around: str, paths: Sequence[str], others: Sequence[str], noun: str
) -> list[Split] | None:
    """Return the split of each example by the split file; None where the archive has none."""
    data = split_files.get(f"{around}{SPLIT_FILE}", split_files.get(SPLIT_FILE))
    if data is None:
        return None
    chosen = _read_split_file(data)
    if lost := sorted(chosen.keys() - {*paths, *others}):
        raise refused(f"has no {shown_paths(lost)}, which its {SPLIT_FILE} names")
    if unnamed := sorted(set(paths) - chosen.keys()):
        raise refused(f"has {shown_paths(unnamed)}, which its {SPLIT_FILE} does not name: it must name every {noun}")
    return [chosen[path] for path in paths]


def _read_split_file(data: bytes) -> dict[str, Split]:
    chosen: dict[str, Split] = {}
    try:
        lines = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""), skipinitialspace=True)
        if tuple(lines.fieldnames or ()) != _COLUMNS:
            raise refused(f"has a {SPLIT_FILE} whose first line is not {','.join(_COLUMNS)}")
        for line in lines:
            path = normal_form(posixpath.normpath(str(line["path"]).replace("\\", "/")))
            split = split_of(str(line["split"]))
            if split is None:
                found = f"split {str(line['split'])[:80]!r} in line {lines.line_num} of its {SPLIT_FILE}"
                raise refused(f"has {found}: it must be one of {', '.join(SPLIT_NAMES)}")
            if chosen.setdefault(path, split) is not split:
                raise refused(f"has a {SPLIT_FILE} that puts {path[:200]!r} into two splits")
    except UnicodeDecodeError as error:
        raise refused(f"has a {SPLIT_FILE} that cannot be read: save it as UTF-8") from error
    except csv.Error as error:
        raise refused(f"has a {SPLIT_FILE} that cannot be read: {error}") from error
    return chosen


def shown_paths(paths: Sequence[str]) -> str:
    """Return the first few paths as a message names them."""
    more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    return ", ".join(repr(path[:200]) for path in paths[:_SHOWN]) + more
