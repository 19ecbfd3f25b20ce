"""Reads an archive of files: each checked once, its bytes spooled, its target and split by its path or a file."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from model_store.errors import InvalidInput
from training_service.datasets.columns import ColumnRole
from training_service.datasets.examples import Example, Examples, ReadExamples, RejectedFile
from training_service.datasets.files.formats import Format
from training_service.datasets.labelled.checked_files import Check, GoodFile, SecondName, TableFile, checked_files
from training_service.datasets.labelled.layouts import Layout, Place, read_layout
from training_service.datasets.labelled.table_files import SPLIT_FILE, refused
from training_service.datasets.labelled.targets_file import TargetsFile, choose_targets_file
from training_service.datasets.labelled.targets_layout import read_targets_layout
from training_service.datasets.reading import Reading
from training_service.datasets.splits import SplitSource


def read_labelled(reading: Reading, noun: str, check: Check, groups: Sequence[str] = ()) -> ReadExamples:
    """Return the examples of an archive, their bytes in the spool; raise InvalidInput for an unreadable upload.

    `noun` is the name of one, and `check` says whether a file is one. What it has seen of each is `observed`, by
    digest. `groups` are names of the column, in a file of targets, whose equal cells stay in one split; the caller may
    name another one.
    """
    if reading.received.format is not Format.ARCHIVE:
        raise InvalidInput.of("modality", f"{noun}s come as an archive (zip, tar, tar.gz) or a folder, not as a table")
    asked = _asked_group(reading, noun)
    files = _Files()
    for each in checked_files(reading.received.files, reading.threads, check):
        reading.check_going_on()
        files.take(each, reading)
    found = [*files.examples, *files.of_second_names(reading.rejected, noun)]
    paths = [example.path for example in found]
    file, layout = _read_layout(paths, files.tables, reading, noun, (asked,) if asked else groups)
    if asked and (file is None or not file.groups):
        raise refused(f"has no column {asked!r} in a file of targets, which schema names as the group")
    used = {file.name if file is not None else "", SPLIT_FILE if layout.split_source is SplitSource.FILE else ""}
    reason = f"it does not lie beside the {noun}s, or says nothing of them"
    reading.rejected.extend(RejectedFile(path, reason) for path in files.tables if posixpath.basename(path) not in used)
    examples = Examples()
    for example, place in zip(found, layout.places, strict=True):
        if isinstance(place, Place):
            own = replace(example, path=place.path, target=place.target, split=place.split, group=place.group)
            examples.append(own)
        else:
            reading.rejected.append(RejectedFile(example.path, place))
    return ReadExamples(
        examples,
        task=file.task if file is not None else "classification",
        names=file.names if file is not None else (),
        split_source=layout.split_source,
        held_out=layout.held_out,
        around=layout.around,
        remarks=layout.remarks,
        observed=files.seen,
    )


def _asked_group(reading: Reading, noun: str) -> str:
    """Return the column that the caller names as the group, if any; raise InvalidInput for any other role."""
    names = [name for name, role in reading.asked.roles if role is ColumnRole.GROUP]
    if len(names) < len(reading.asked.roles) or len(names) > 1:
        rule = f"may name one column as the group for {noun}s: folders, or a file beside them, say all else"
        raise InvalidInput.of("schema", rule)
    return names[0] if names else ""


def _read_layout(
    paths: Sequence[str], tables: Mapping[str, bytes], reading: Reading, noun: str, groups: Sequence[str]
) -> tuple[TargetsFile | None, Layout]:
    """Return the targets in a file beside the examples, by default those of their folders."""
    rejected = [each.path for each in reading.rejected]
    folders = {posixpath.dirname(path) for path in tables}
    around = next((f"{each}/" for each in folders if each and all(path.startswith(f"{each}/") for path in paths)), "")
    file = choose_targets_file(tables, around, reading.task, noun, groups)
    if file is not None:
        return file, read_targets_layout(paths, file, around, tables, rejected, noun=noun)
    split_files = {path: data for path, data in tables.items() if posixpath.basename(path) == SPLIT_FILE}
    return None, read_layout(paths, split_files, rejected, noun=noun)


@dataclass(frozen=True)
class _Files:
    """The content of an archive, as far as it was read; examples have no targets yet."""

    examples: list[Example] = field(default_factory=list)
    seen: dict[str, Any] = field(default_factory=dict)
    tables: dict[str, bytes] = field(default_factory=dict)
    second_names: list[SecondName] = field(default_factory=list)

    def take(self, file: GoodFile | TableFile | SecondName | RejectedFile, reading: Reading) -> None:
        if isinstance(file, RejectedFile):
            reading.rejected.append(file)
        elif isinstance(file, TableFile):
            self.tables[file.path] = file.data
        elif isinstance(file, SecondName):
            self.second_names.append(file)
        else:
            spooled = reading.spool.add(file.data)
            place = spooled.offset, spooled.size, spooled.sha256
            self.examples.append(Example(file.path, 0, "", None, *place, file.checked.facts))
            self.seen[spooled.sha256] = file.checked.seen

    def of_second_names(self, rejected: list[RejectedFile], noun: str) -> Iterator[Example]:
        """Yield each example once more under its other name: in another label's folder it has two labels."""
        examples = {example.path: example for example in self.examples}
        for each in self.second_names:
            if each.target in examples:
                yield replace(examples[each.target], path=each.path)
            else:
                rejected.append(RejectedFile(each.path, f"a link to {each.target!r}, which is no {noun} before it"))
