"""Parts of a page as data: a section has a heading, and names the template that writes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from training_service.markup.picture import Picture

_OPEN_ROWS = 30
_MAX_ROWS = 1000


class Section(Protocol):
    """One section; its template, named from the package `training_service` on, sees it as `section`."""

    @property
    def heading(self) -> str:
        """The heading above it."""
        ...

    @property
    def template(self) -> str:
        """The name of the template."""
        ...


@dataclass(frozen=True)
class Meter:
    """A number in a cell, with its share, 0 to 1, as the width of a bar behind it."""

    text: str
    share: float


@dataclass(frozen=True)
class Table:
    """Numbers by row; the first cell of a row is its heading. `what` names the rows: "labels".

    Of a long table the first rows are open, and some hundreds more can be opened.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | Meter]]
    what: str

    @property
    def is_long(self) -> bool:
        """Say whether the first rows alone are open."""
        return len(self.rows) > _OPEN_ROWS

    @property
    def opened(self) -> Sequence[Sequence[str | Meter]]:
        """The rows that are open."""
        return self.rows[:_OPEN_ROWS]

    @property
    def shown(self) -> Sequence[Sequence[str | Meter]]:
        """All rows, or the first ones where there are too many for a page."""
        return self.rows[:_MAX_ROWS]


@dataclass(frozen=True)
class Figure:
    """A picture with a caption."""

    caption: str
    picture: Picture


@dataclass(frozen=True)
class TableSection:
    """A section of one table."""

    heading: str
    table: Table
    template: str = "markup/table_section.html"
