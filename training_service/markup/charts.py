"""Charts of learning and of confidence: pure functions from numbers to pictures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from training_service.markup.axes import Scale, aligned, scale, thinned, ticks
from training_service.markup.picture import Bar, Dot, Label, Line, Mark, Path, Picture, Points

_WIDTH, _HEIGHT = 420, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 82, 14, 40
_SIDE, _STRIP = 230, 44
_NAME = 20  # characters of a name beside a bar


@dataclass(frozen=True)
class Series:
    """One line: its name, its points by x, and which of the page's three colours it has."""

    name: str
    points: Points
    colour: int = 1


@dataclass(frozen=True)
class Bin:
    """Rows of about one confidence: how many, how sure on average, and how often right, 0 to 1."""

    num_rows: int
    confidence: float
    accuracy: float


def line_chart(title: str, x_label: str, lines: Sequence[Series], x_names: Sequence[str] = ()) -> Picture:
    """Draw up to three lines over one another; `x_names` stand below 1, 2, 3, … instead of numbers."""
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points]
    y_ticks = ticks(min(ys), max(ys))
    x_ticks = ticks(min(xs), max(xs), whole=True) if not x_names else [float(n + 1) for n in range(len(x_names))]
    x_of = scale(min(xs), max(xs), _LEFT, _WIDTH - _RIGHT)
    y_of = scale(y_ticks[0], y_ticks[-1], _HEIGHT - _BOTTOM, _TOP)
    names = dict(zip(x_ticks, x_names, strict=False))
    marks: list[Mark] = [
        *(Line(_LEFT, y_of(y), _WIDTH - _RIGHT, y_of(y)) for y in y_ticks),
        *(Label(_LEFT - 8, y_of(y) + 4, name, "end") for y, name in zip(y_ticks, aligned(y_ticks), strict=True)),
        *(Label(x_of(x), _HEIGHT - _BOTTOM + 18, names.get(x, f"{x:g}")) for x in x_ticks),
        Label((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 4, x_label),
        *(mark for line in lines for mark in _line(line, x_of, y_of)),
        *_names_at_the_end(lines, y_of),
    ]
    return Picture(title, _WIDTH, _HEIGHT, marks)


def reliability_diagram(title: str, bins: Sequence[Bin], what: str) -> Picture:
    """Draw the accuracy of each bin of confidence; below, how many rows, called `what`, each bin has.

    A bar that ends at the diagonal is calibrated. The difference to the diagonal has a colour of its own.
    """
    left, top, side = 44, 10, _SIDE
    x_of, y_of = scale(0, 1, left, left + side), scale(0, 1, top + side, top)
    width = side / len(bins)
    most = max((each.num_rows for each in bins), default=1) or 1
    strip = top + side + 52
    filled = [(left + number * width, each) for number, each in enumerate(bins) if each.num_rows]
    shares = (0, 0.25, 0.5, 0.75, 1)
    marks: list[Mark] = [
        *(Line(left, y_of(share), left + side, y_of(share)) for share in shares),
        *(Label(left - 8, y_of(share) + 4, f"{share:g}", "end") for share in shares),
        *(Label(x_of(share), y_of(0) + 17, f"{share:g}") for share in shares),
        *(bar for x, each in filled for bar in _reliability_bars(each, x, width, y_of, what)),
        Line(x_of(0), y_of(0), x_of(1), y_of(1), "diagonal"),
        Label(left + side / 2, y_of(0) + 34, "confidence"),
        *(_bar(x, strip + _STRIP * (1 - each.num_rows / most), width, strip + _STRIP, "count") for x, each in filled),
        Label(left - 8, strip + 10, str(most), "end"),
        Label(left + side / 2, strip + _STRIP + 17, f"{what} by confidence"),
    ]
    return Picture(title, left + side + 14, strip + _STRIP + 24, marks)


def bar_chart(title: str, values: Sequence[tuple[str, float]]) -> Picture:
    """Draw a bar for each named value, one below the other; bars of values below 0 go to the left of those above."""
    names, width, height = 150, 240, 20
    x_of = scale(min(0.0, *(value for _, value in values)), max(0.0, *(value for _, value in values)), 0, width)
    marks: list[Mark] = []
    for place, (name, value) in enumerate(values):
        left, right = sorted((names + x_of(value), names + x_of(0)))
        marks += [
            Label(names - 8, place * height + 14, name if len(name) <= _NAME else f"{name[: _NAME - 1]}…", "end"),
            Bar(left, place * height + 3, right - left, height - 6, hint=f"{name}: {value:.4g}"),
        ]
    zero = names + x_of(0)
    return Picture(title, names + width + 10, len(values) * height, [Line(zero, 0, zero, len(values) * height), *marks])


def interval_bar(title: str, value: float, low: float, high: float) -> Picture:
    """Draw a share, 0 to 1, and its confidence interval."""
    x_of = scale(0, 1, 1, 199)
    marks = (
        Line(1, 6, 199, 6, "track"),
        Line(x_of(low), 6, x_of(high), 6, "interval"),
        Dot(x_of(value), 6, 4, "point"),
    )
    return Picture(title, 200, 12, marks)


def _line(line: Series, x_of: Scale, y_of: Scale) -> Iterator[Mark]:
    shown = [(x_of(x), y_of(y)) for x, y in thinned(line.points)]
    yield Path(shown, f"line series-{line.colour}")
    yield Dot(*shown[-1], 3.5, f"dot series-{line.colour}")


def _names_at_the_end(lines: Sequence[Series], y_of: Scale) -> Iterator[Label]:
    """Name each line beside its last point; names that would meet are moved apart."""
    last = -math.inf
    for line in sorted(lines, key=lambda line: y_of(line.points[-1][1])):
        last = max(y_of(line.points[-1][1]) + 4, last + 15)
        yield Label(_WIDTH - _RIGHT + 8, last, line.name, "start", f"name-{line.colour}")


def _reliability_bars(each: Bin, x: float, width: float, y_of: Scale, what: str) -> Iterator[Bar]:
    """Draw the accuracy of one bin in two parts: where it agrees with the confidence, and the difference."""
    sure, right = each.confidence, each.accuracy
    hint = f"{each.num_rows} {what}: accuracy {right:.0%}, confidence {sure:.0%}"
    yield _bar(x, y_of(min(sure, right)), width, y_of(0), "bar", hint)
    yield _bar(x, y_of(max(sure, right)), width, y_of(min(sure, right)), "over" if sure > right else "under", hint)


def _bar(x: float, top: float, width: float, bottom: float, look: str, hint: str = "") -> Bar:
    return Bar(x + 0.75, top, width - 1.5, max(bottom - top, 0.0), look, hint)
