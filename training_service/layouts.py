"""Where an archive says what its images are: by folders of labels, of splits and labels, or by a file of splits."""

from __future__ import annotations

import csv
import io
import posixpath
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from model_store.errors import InvalidInput
from training_service.splits import HELD_OUT, Split

SPLIT_FILE = "splits.csv"
MAX_LABEL_LENGTH = 200

_SPLITS = {
    "train": Split.TRAIN,
    "val": Split.VALIDATION,
    "valid": Split.VALIDATION,
    "validation": Split.VALIDATION,
    "test": Split.TEST,
}
_COLUMNS = ("path", "split")
_SHOWN = 5


class LayoutKind(StrEnum):
    """How splits are given."""

    LABEL_FOLDERS = "label_folders"
    SPLIT_FOLDERS = "split_folders"
    SPLIT_FILE = "split_file"


@dataclass(frozen=True)
class Place:
    """What an image's path says: the path below a folder around everything, the label, the split where one is given."""

    path: str
    label: str
    split: Split | None


@dataclass(frozen=True)
class Layout:
    """A place for each image, None for one in no label's folder; `held_out` splits are dealt out of what trains."""

    kind: LayoutKind
    places: tuple[Place | None, ...]
    held_out: Collection[Split]


def is_split_file(path: str) -> bool:
    """Say whether a file may be the archive's split file: at the root, or in a folder around everything."""
    *folders, name = path.split("/")
    return name == SPLIT_FILE and len(folders) <= 1


def read_layout(paths: Sequence[str], split_files: Mapping[str, bytes], others: Iterable[str] = ()) -> Layout:
    """Read what the paths of an archive's images say, and its split file; `others` are files that are no good images.

    Folders of splits are `train`, `val` (or `valid`, `validation`) and `test`, with folders of labels in them. Where
    validation or test is missing, it is dealt out of what is given for training. Raises InvalidInput for a split file
    that cannot be read, contradicts folders or itself, or does not name exactly the archive's images.
    """
    around = _folder_around(paths)
    below = [path.removeprefix(around) for path in paths]
    in_folders = _has_split_folders(below)
    chosen = _chosen_splits(split_files, around, below, [path.removeprefix(around) for path in others])
    if chosen is None and not in_folders:
        return Layout(LayoutKind.LABEL_FOLDERS, tuple(_place(path, path, None) for path in below), HELD_OUT)
    if chosen is not None and in_folders:
        raise _refused(f"has folders of splits and a {SPLIT_FILE}: leave one of them out")
    kind = LayoutKind.SPLIT_FOLDERS if chosen is None else LayoutKind.SPLIT_FILE
    splits = [_SPLITS[path.split("/")[0].lower()] for path in below] if chosen is None else chosen
    held_out = frozenset(HELD_OUT) - set(splits)
    given = [None if held_out and split is Split.TRAIN else split for split in splits]
    labelled = [path.partition("/")[2] if chosen is None else path for path in below]
    places = tuple(_place(*each) for each in zip(below, labelled, given, strict=True))
    return Layout(kind, places, held_out)


def _folder_around(paths: Sequence[str]) -> str:
    """Return the one folder around all folders, with its slash; empty where there is none."""
    tops = {path.split("/")[0] for path in paths}
    return f"{tops.pop()}/" if len(tops) == 1 and any(path.count("/") > 1 for path in paths) else ""


def _has_split_folders(paths: Sequence[str]) -> bool:
    """Say whether all images are below folders named as splits, `train` or several, and in folders of those."""
    tops = {path.split("/")[0].lower() for path in paths}
    splits = {_SPLITS.get(top) for top in tops}
    return (
        None not in splits and (Split.TRAIN in splits or len(splits) > 1) and any(path.count("/") > 1 for path in paths)
    )


def _place(path: str, labelled: str, split: Split | None) -> Place | None:
    label, separator, _ = labelled.partition("/")
    return Place(path, label, split) if separator and len(label) <= MAX_LABEL_LENGTH else None


def _chosen_splits(
    split_files: Mapping[str, bytes], around: str, paths: Sequence[str], others: Sequence[str]
) -> list[Split] | None:
    """Return the split of each image by the split file; None where the archive has none."""
    data = split_files.get(f"{around}{SPLIT_FILE}", split_files.get(SPLIT_FILE))
    if data is None:
        return None
    chosen = _read_split_file(data)
    if lost := sorted(chosen.keys() - {*paths, *others}):
        raise _refused(f"has no {_shown(lost)}, which its {SPLIT_FILE} names")
    if unnamed := sorted(set(paths) - chosen.keys()):
        raise _refused(f"has {_shown(unnamed)}, which its {SPLIT_FILE} does not name: it must name every image")
    return [chosen[path] for path in paths]


def _read_split_file(data: bytes) -> dict[str, Split]:
    chosen: dict[str, Split] = {}
    try:
        lines = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""), skipinitialspace=True)
        if tuple(lines.fieldnames or ()) != _COLUMNS:
            raise _refused(f"has a {SPLIT_FILE} whose first line is not {','.join(_COLUMNS)}")
        for line in lines:
            path, split = (
                posixpath.normpath(str(line["path"]).replace("\\", "/")),
                _SPLITS.get(str(line["split"]).lower()),
            )
            if split is None:
                found = f"split {str(line['split'])[:80]!r} in line {lines.line_num} of its {SPLIT_FILE}"
                raise _refused(f"has {found}: it must be one of {', '.join(_SPLITS)}")
            if chosen.setdefault(path, split) is not split:
                raise _refused(f"has a {SPLIT_FILE} that puts {path[:200]!r} into two splits")
    except (UnicodeDecodeError, csv.Error) as error:
        raise _refused(f"has a {SPLIT_FILE} that cannot be read: {error}") from error
    return chosen


def _shown(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    return ", ".join(repr(path[:200]) for path in paths[:_SHOWN]) + more


def _refused(reason: str) -> InvalidInput:
    return InvalidInput.of("archive", reason)
