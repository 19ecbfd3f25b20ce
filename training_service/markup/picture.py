"""A chart as data: marks on a plane, which `picture.html` writes as SVG and the page's style colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Line:
    """A straight line; by default one of the thin lines behind the data."""

    kind: ClassVar[str] = "line"
    x1: float
    y1: float
    x2: float
    y2: float
    look: str = "rule"


@dataclass(frozen=True)
class Path:
    """A line through points."""

    kind: ClassVar[str] = "path"
    points: Points
    look: str


@dataclass(frozen=True)
class Dot:
    """A filled circle."""

    kind: ClassVar[str] = "dot"
    x: float
    y: float
    radius: float
    look: str


@dataclass(frozen=True)
class Bar:
    """A filled rectangle from its upper left corner; a browser shows `hint` under the pointer."""

    kind: ClassVar[str] = "bar"
    x: float
    y: float
    width: float
    height: float
    look: str = "bar"
    hint: str = ""


@dataclass(frozen=True)
class Label:
    """A text, of which x is the `anchor`: start, middle or end."""

    kind: ClassVar[str] = "label"
    x: float
    y: float
    text: str
    anchor: str = "middle"
    look: str = ""


Mark = Line | Path | Dot | Bar | Label


@dataclass(frozen=True)
class Picture:
    """Marks on a plane of this width and height, y downwards; the page shows it no wider. `title` describes it."""

    title: str
    width: float
    height: float
    marks: Sequence[Mark]
