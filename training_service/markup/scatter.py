"""Charts of points: of predicted and true values, of residuals, and of estimates: pure functions to pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from training_service.markup.axes import aligned, decimal_ticks, scale, thinned, ticks
from training_service.markup.picture import Bar, Dot, Label, Line, Mark, Path, Picture, Points

_SIDE = 260
_LEFT, _TOP, _BELOW, _RIGHT = 64, 12, 42, 14
_WIDTH, _HEIGHT = 320, 180
_WIDE, _HIGH = 460, 280


def scatter_chart(title: str, points: Points, x_label: str, y_label: str) -> Picture:
    """Draw points (x, y) on equal axes, with the diagonal where both are the same; a few hundred of them are shown."""
    values = [value for point in points for value in point]
    places = ticks(min(values), max(values))
    first, last = places[0], places[-1]
    x_of = scale(first, last, _LEFT, _LEFT + _SIDE)
    y_of = scale(first, last, _TOP + _SIDE, _TOP)
    names = list(zip(places, aligned(places), strict=True))
    marks: list[Mark] = [
        *(Line(_LEFT, y_of(place), _LEFT + _SIDE, y_of(place)) for place in places),
        *(Label(_LEFT - 8, y_of(place) + 4, name, "end") for place, name in names),
        *(Label(x_of(place), _TOP + _SIDE + 17, name) for place, name in names),
        Line(x_of(first), y_of(first), x_of(last), y_of(last), "diagonal"),
        *(Dot(x_of(x), y_of(y), 2.5, "dot series-1") for x, y in thinned(points)),
        Label(_LEFT + _SIDE / 2, _TOP + _SIDE + 36, x_label),
        Label(_LEFT, _TOP - 2, y_label, "start"),
    ]
    return Picture(title, _LEFT + _SIDE + _RIGHT, _TOP + _SIDE + _BELOW, marks)


def histogram(title: str, edges: Sequence[float], counts: Sequence[int], x_label: str) -> Picture:
    """Draw how many values there are between each two edges."""
    x_of = scale(edges[0], edges[-1], _LEFT, _WIDTH - _RIGHT)
    y_of = scale(0, max(counts) or 1, _HEIGHT - _BELOW, _TOP)
    places = [place for place in ticks(edges[0], edges[-1]) if edges[0] <= place <= edges[-1]]
    bars = [
        Bar(
            x_of(low) + 0.5,
            y_of(count),
            max(x_of(high) - x_of(low) - 1, 0.5),
            y_of(0) - y_of(count),
            hint=f"{count} from {low:.3g} to {high:.3g}",
        )
        for (low, high), count in zip(pairwise(edges), counts, strict=True)
        if count
    ]
    names = zip(places, aligned(places), strict=True)
    marks: list[Mark] = [
        Line(_LEFT, y_of(0), _WIDTH - _RIGHT, y_of(0)),
        Label(_LEFT - 8, y_of(max(counts)) + 8, str(max(counts)), "end"),
        *bars,
        *(Label(x_of(place), _HEIGHT - _BELOW + 17, name) for place, name in names),
        Label((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 5, x_label),
    ]
    return Picture(title, _WIDTH, _HEIGHT, marks)


@dataclass(frozen=True)
class Estimate:
    """A value y at x, with its interval; `name` stands beside it, and the chosen one has a colour of its own."""

    name: str
    x: float
    y: float
    low: float
    high: float
    is_chosen: bool = False


def interval_chart(title: str, estimates: Sequence[Estimate], x_label: str, y_label: str) -> Picture:
    """Draw estimates with their intervals over a logarithmic axis of x, which is above 0."""
    left, right, bottom = _LEFT, _WIDE - _RIGHT, _HIGH - _BELOW
    xs = decimal_ticks(min(each.x for each in estimates), max(each.x for each in estimates))
    ys = ticks(min(each.low for each in estimates), max(each.high for each in estimates))
    log_of, y_of = scale(math.log(xs[0]), math.log(xs[-1]), left, right), scale(ys[0], ys[-1], bottom, _TOP)
    marks: list[Mark] = [
        *(Line(left, y_of(y), right, y_of(y)) for y in ys),
        *(Label(left - 8, y_of(y) + 4, name, "end") for y, name in zip(ys, aligned(ys), strict=True)),
        *(Label(log_of(math.log(x)), bottom + 17, f"{x:g}") for x in xs),
    ]
    for each in estimates:
        x, colour = log_of(math.log(each.x)), 2 if each.is_chosen else 1
        marks += [
            Path([(x, y_of(each.low)), (x, y_of(each.high))], f"line series-{colour}"),
            Dot(x, y_of(each.y), 4, f"dot series-{colour}"),
            Label(x + 7, y_of(each.y) + 4, each.name, "start"),
        ]
    marks += [Label((left + right) / 2, _HIGH - 6, x_label), Label(left, _TOP - 2, y_label, "start")]
    return Picture(title, _WIDE, _HIGH, marks)
