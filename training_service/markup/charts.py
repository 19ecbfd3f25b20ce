"""Charts of a report as inline SVG: pure functions from numbers to markup, coloured by the page's style."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from training_service.markup.elements import Markup, element, joined

Points = Sequence[tuple[float, float]]
_WIDTH, _HEIGHT = 420, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 82, 14, 40
_MAX_POINTS = 400
_SIDE, _STRIP = 230, 44
Scale = Callable[[float], float]


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


def line_chart(title: str, x_label: str, lines: Sequence[Series], x_names: Sequence[str] = ()) -> Markup:
    """Draw up to three lines over one another; `x_names` stand below 1, 2, 3, … instead of numbers."""
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points]
    y_ticks = ticks(min(ys), max(ys))
    x_ticks = ticks(min(xs), max(xs), whole=True) if not x_names else [float(n + 1) for n in range(len(x_names))]
    x_of = scale(min(xs), max(xs), _LEFT, _WIDTH - _RIGHT)
    y_of = scale(y_ticks[0], y_ticks[-1], _HEIGHT - _BOTTOM, _TOP)
    names = dict(zip(x_ticks, x_names, strict=False))
    return picture(
        title,
        (_WIDTH, _HEIGHT),
        *(rule(_LEFT, y_of(y), _WIDTH - _RIGHT, y_of(y)) for y in y_ticks),
        *(text(_LEFT - 8, y_of(y) + 4, name, anchor="end") for y, name in zip(y_ticks, aligned(y_ticks), strict=True)),
        *(text(x_of(x), _HEIGHT - _BOTTOM + 18, names.get(x, f"{x:g}")) for x in x_ticks),
        text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 4, x_label),
        *(_line(line, x_of, y_of) for line in lines),
        *_names_at_the_end(lines, y_of),
    )


def reliability_diagram(title: str, bins: Sequence[Bin], what: str) -> Markup:
    """Draw how often rows are right by how sure the model is; below, how many of them, called `what`, are how sure.

    A bar that ends at the diagonal is calibrated; what is missing up to there, or stands out above, has a colour of
    its own.
    """
    left, top, side = 44, 10, _SIDE
    x_of, y_of = scale(0, 1, left, left + side), scale(0, 1, top + side, top)
    width = side / len(bins)
    most = max((each.num_rows for each in bins), default=1) or 1
    strip = top + side + 52
    filled = [(number, each) for number, each in enumerate(bins) if each.num_rows]
    bars = [_reliability_bar(each, left + number * width, width, y_of, what) for number, each in filled]
    counts = [
        _bar(left + number * width, strip + _STRIP * (1 - each.num_rows / most), width, strip + _STRIP, "count")
        for number, each in filled
    ]
    shares = (0, 0.25, 0.5, 0.75, 1)
    return picture(
        title,
        (left + side + 14, strip + _STRIP + 24),
        *(rule(left, y_of(share), left + side, y_of(share)) for share in shares),
        *(text(left - 8, y_of(share) + 4, f"{share:g}", anchor="end") for share in shares),
        *(text(x_of(share), y_of(0) + 17, f"{share:g}") for share in shares),
        *bars,
        element("line", x1=x_of(0), y1=y_of(0), x2=x_of(1), y2=y_of(1), class_="diagonal"),
        text(left + side / 2, y_of(0) + 34, "confidence"),
        *counts,
        text(left - 8, strip + 10, most, anchor="end"),
        text(left + side / 2, strip + _STRIP + 17, f"{what} by confidence"),
    )


def interval_bar(title: str, value: float, low: float, high: float) -> Markup:
    """Draw a share, 0 to 1, and where it lies with confidence."""
    x_of = scale(0, 1, 1, 199)
    return picture(
        title,
        (200, 12),
        element("line", x1=1, y1=6, x2=199, y2=6, class_="track"),
        element("line", x1=x_of(low), y1=6, x2=x_of(high), y2=6, class_="interval"),
        element("circle", cx=x_of(value), cy=6, r=4, class_="point"),
    )


def ticks(low: float, high: float, *, whole: bool = False) -> list[float]:
    """Return three to seven round numbers from `low` to `high` or just beyond; `whole` ones stay between them."""
    if low == high and not whole:
        margin = abs(high) / 20 or 0.5
        low, high = low - margin, high + margin
    span = high - low or abs(high) or 1.0
    power = 10 ** math.floor(math.log10(span / 4))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if span / (factor * power) <= 5)
    if whole:
        step = max(round(step), 1)
        first, last = math.ceil(low / step), math.floor(high / step)
    else:
        first, last = math.floor(low / step), math.ceil(high / step)
    return [number * step for number in range(first, max(last, first + (not whole)) + 1)]


def aligned(values: Sequence[float]) -> list[str]:
    """Write round numbers with as many decimals as the longest of them needs."""
    decimals = max(len(f"{value:.6g}".partition(".")[2]) for value in values)
    return [f"{value:.{decimals}f}" if "e" not in f"{value:.6g}" else f"{value:g}" for value in values]


def thinned(points: Points) -> Points:
    """Return at most a few hundred of the points, the last one among them."""
    every = math.ceil(len(points) / _MAX_POINTS)
    return points[::-1][::every][::-1] if every > 1 else points


def scale(low: float, high: float, start: float, end: float) -> Scale:
    """Return the line that takes `low` to `start` and `high` to `end`."""
    span = high - low or 1.0
    return lambda value: start + (value - low) / span * (end - start)


def _line(line: Series, x_of: Scale, y_of: Scale) -> Markup:
    shown = thinned(line.points)
    path = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in shown)
    last_x, last_y = shown[-1]
    return joined(
        [
            element("polyline", points=path, class_=f"line series-{line.colour}"),
            element("circle", cx=x_of(last_x), cy=y_of(last_y), r=3.5, class_=f"dot series-{line.colour}"),
        ]
    )


def _names_at_the_end(lines: Sequence[Series], y_of: Scale) -> Iterator[Markup]:
    """Name each line beside its last point; names that would meet are moved apart."""
    last = -math.inf
    for line in sorted(lines, key=lambda line: y_of(line.points[-1][1])):
        last = max(y_of(line.points[-1][1]) + 4, last + 15)
        yield text(_WIDTH - _RIGHT + 8, last, line.name, anchor="start", series=f"name-{line.colour}")


def _reliability_bar(each: Bin, x: float, width: float, y_of: Scale, what: str) -> Markup:
    """Draw how often one bin is right, in two parts: what agrees with how sure it is, and by how much it does not."""
    sure, right = each.confidence, each.accuracy
    kind = "over" if sure > right else "under"
    hint = f"{each.num_rows} {what}: {right:.0%} right, {sure:.0%} sure"
    parts = (
        _bar(x, y_of(min(sure, right)), width, y_of(0), "bar"),
        _bar(x, y_of(max(sure, right)), width, y_of(min(sure, right)), kind),
    )
    return element("g", element("title", hint), *parts)


def picture(title: str, size: tuple[float, float], *parts: Markup) -> Markup:
    """Write an SVG of this width and height, no wider than that on the page."""
    return element(
        "svg",
        element("title", title),
        *parts,
        viewBox=f"0 0 {size[0]:g} {size[1]:g}",
        style=f"max-width:{size[0]:g}px",
        role="img",
        aria_label=title,
    )


def rule(x1: float, y1: float, x2: float, y2: float) -> Markup:
    """Draw a thin line behind the data."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_="rule")


def _bar(x: float, top: float, width: float, bottom: float, class_: str) -> Markup:
    return element("rect", x=x + 0.75, y=top, width=width - 1.5, height=max(bottom - top, 0.0), class_=class_)


def text(x: float, y: float, content: str | int, *, anchor: str = "middle", series: str = "") -> Markup:
    """Write a text at a place, in the middle of which it stands where nothing else is asked for."""
    return element("text", content, x=x, y=y, text_anchor=anchor, class_=series or None)
