"""Reads texts: a table's, whose other columns say targets, splits and groups, or files of text in folders of labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice

from model_store.errors import InvalidExample, InvalidInput, Violation
from model_store.modalities.text.spec import checked_text
from training_service.datasets.examples import Example, Examples, ReadExamples, RejectedFile
from training_service.datasets.files.formats import Format
from training_service.datasets.files.table_rows import TableRow
from training_service.datasets.files.tables import Table
from training_service.datasets.labelled.checked_files import CheckedExample
from training_service.datasets.labelled.reading import read_labelled
from training_service.datasets.reading import Reading
from training_service.datasets.split_names import given_splits
from training_service.datasets.splits import HELD_OUT, Split, SplitSource
from training_service.datasets.tables.targets import CellTargets
from training_service.modalities.text.near_duplicates import words_hash
from training_service.modalities.text.roles import TextRoles, read_roles

_SHOWN_FAULTS = 10
_KEPT_CHARACTERS = 120  # of a text, for reports
_GUESSED_BY = 1000
"""The first rows of a table, by which columns are guessed."""


def read_texts(reading: Reading) -> ReadExamples:
    """Return the texts of a table or an archive, in UTF-8 in the spool; raise InvalidInput for an unusable upload.

    A row or file without any text, or with characters that are no text, is left out and listed with the reason.
    """
    if reading.received.format is Format.ARCHIVE:
        return read_labelled(reading, "text", partial(_checked_file, max_size=reading.max_size))
    table = Table(reading.received.table, reading.received.format)
    rows = table.rows()
    first = list(islice(rows, _GUESSED_BY))
    roles = read_roles(table, first, reading.asked.roles, reading.parent)
    found = _Rows(table, roles, reading)
    for row in chain(first, rows):
        reading.check_going_on()
        found.take(row)
    table.detach()
    return found.result()


def _checked_file(data: bytes, *, max_size: int) -> CheckedExample:
    return CheckedExample(_facts(data, max_size), None)


def _facts(text: str | bytes, max_size: int) -> dict[str, int | str]:
    """Return what is kept with a row; raise InvalidExample for what is no text."""
    checked = checked_text(text, max_size)
    beginning = " ".join(checked[: 2 * _KEPT_CHARACTERS].split())[:_KEPT_CHARACTERS]
    counts = {"characters": len(checked), "words": len(checked.split())}
    return {**counts, "words_hash": words_hash(checked), "beginning": beginning}


@dataclass
class _Rows:
    """The rows of a table, as far as they were read."""

    table: Table
    roles: TextRoles
    reading: Reading

    def __post_init__(self) -> None:
        self._examples = Examples()
        self._targets = CellTargets(self.table, self.roles.targets)
        self._splits: list[Split | None] = []
        self._faults: list[str] = []

    def take(self, row: TableRow) -> None:
        """Keep a row's text; remember a fault of its other cells, up to a few, and leave a row without text out."""
        if row.number > self.reading.max_examples:
            raise self.table.refused(f"has more than {self.reading.max_examples} rows: split it into several datasets")
        text = row.cells[self.roles.text]
        try:
            facts = _facts(text, self.reading.max_size)
        except InvalidExample as error:
            place = self.table.cell_place(row, self.roles.text)
            self.reading.rejected.append(RejectedFile(f"row {row.number}", f"{place}: {error}"))
            return
        try:
            self._targets.take(row)
            split = self.table.split(row, self.roles.split) if self.roles.split is not None else None
        except InvalidInput as error:
            self._faults.append(error.violations[0].description)
            if len(self._faults) == _SHOWN_FAULTS:
                raise self._refused() from error
            return
        spooled = self.reading.spool.add(text.encode())
        self._splits.append(split)
        group = row.cells[self.roles.group] if self.roles.group is not None else ""
        self._examples.append(
            Example("", row.number, "", split, spooled.offset, spooled.size, spooled.sha256, facts, group=group)
        )

    def result(self) -> ReadExamples:
        """Return the texts with the targets that the whole columns make; raise InvalidInput for faults."""
        if self._faults:
            raise self._refused()
        if not self._examples:
            raise self.table.refused(f"has no text in column {self.table.columns[self.roles.text]!r}")
        found = self._targets.result(self.reading.task)
        has_splits = self.roles.split is not None
        splits, held_out = given_splits(self._splits) if has_splits else (self._splits, HELD_OUT)
        examples = self._examples
        examples.set_targets(found.targets, splits)
        return ReadExamples(
            examples,
            task=found.task,
            names=found.names,
            split_source=SplitSource.COLUMN if has_splits else SplitSource.ASSIGNED,
            held_out=held_out,
            columns=self.roles.columns(self.table.columns, found.type),
            remarks=(*self.table.remarks, *self._guesses(), *found.remarks),
        )

    def _guesses(self) -> Iterator[str]:
        """Say which columns were guessed, and which are not used."""
        names, asked = self.table.columns, {name for name, _ in self.reading.asked.roles}
        if self.reading.parent is None and not asked >= {
            names[place] for place in (self.roles.text, *self.roles.targets)
        }:
            targets = ", ".join(repr(names[place]) for place in self.roles.targets)
            yield f"column {names[self.roles.text]!r} was taken for the texts, and {targets} for the target"
        unused = [name for place, name in enumerate(names) if place not in self.roles.places and name not in asked]
        if unused:
            more = f" and {len(unused) - _SHOWN_FAULTS} more" if len(unused) > _SHOWN_FAULTS else ""
            yield f"columns that are not used: {', '.join(map(repr, unused[:_SHOWN_FAULTS]))}{more}"

    def _refused(self) -> InvalidInput:
        return InvalidInput(*(Violation(str(self.reading.received.format), fault) for fault in self._faults))
