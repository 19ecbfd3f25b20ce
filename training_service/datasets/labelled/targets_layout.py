"""The targets of examples by a file beside them, and their splits by that file, a split file, or folders."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from training_service.datasets.labelled.layouts import Layout, Place, chosen_splits, shown_paths
from training_service.datasets.labelled.table_files import SPLIT_FILE, refused
from training_service.datasets.labelled.targets_file import TargetsFile
from training_service.datasets.split_names import given_splits, split_of
from training_service.datasets.splits import HELD_OUT, Split, SplitSource


def read_targets_layout(
    paths: Sequence[str],
    file: TargetsFile,
    around: str,
    tables: Mapping[str, bytes],
    others: Iterable[str] = (),
    *,
    noun: str,
) -> Layout:
    """Return the place of each example; `others` are files that are none, and `around` the file's folder.

    Splits are those of the file's column `split`, of a split file, or of folders `train`, `validation` and `test`
    around the examples. Raises InvalidInput where the file does not name exactly the archive's examples.
    """
    below = [path.removeprefix(around) for path in paths]
    others = [path.removeprefix(around) for path in others]
    if lost := sorted(file.targets.keys() - {*below, *others}):
        raise refused(f"has no {shown_paths(lost)}, which its {file.name} names: it must name paths from its folder on")
    if unnamed := sorted(set(below) - file.targets.keys()):
        raise refused(f"has {shown_paths(unnamed)}, which its {file.name} does not name: it must name every {noun}")
    source, splits, held_out = _splits(file, around, below, tables, others, noun)
    places = [
        Place(path, file.targets[path], split, file.groups.get(path, ""))
        for path, split in zip(below, splits, strict=True)
    ]
    return Layout(source, tuple(places), held_out, around)


def _splits(
    file: TargetsFile, around: str, paths: Sequence[str], tables: Mapping[str, bytes], others: Sequence[str], noun: str
) -> tuple[SplitSource, list[Split | None], Collection[Split]]:
    chosen = chosen_splits(tables, around, paths, others, noun)
    if chosen is not None and file.splits:
        raise refused(f"has a {SPLIT_FILE} and a column split in its {file.name}: leave one of them out")
    if chosen is not None:
        return SplitSource.FILE, *given_splits(chosen)
    if file.splits:
        return SplitSource.COLUMN, *given_splits([file.splits[path] for path in paths])
    by_folder = [split_of(path.split("/")[0]) if "/" in path else None for path in paths]
    if Split.TRAIN in by_folder and None not in by_folder and len(set(by_folder)) > 1:
        return SplitSource.FOLDERS, *given_splits(by_folder)
    return SplitSource.ASSIGNED, [None] * len(paths), HELD_OUT
