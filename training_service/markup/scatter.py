"""Charts of predicted and true values, and of the residuals between them: pure functions from numbers to pictures."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from training_service.markup.axes import aligned, scale, thinned, ticks
from training_service.markup.picture import Bar, Dot, Label, Line, Mark, Picture, Points

_SIDE = 260
_LEFT, _TOP, _BELOW, _RIGHT = 64, 12, 42, 14
_WIDTH, _HEIGHT = 320, 180


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
