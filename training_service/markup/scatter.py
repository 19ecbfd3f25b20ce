"""Charts of predicted and true values, and of the residuals between them, as inline SVG."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from training_service.markup.charts import Points, aligned, picture, rule, scale, text, thinned, ticks
from training_service.markup.elements import Markup, element

_SIDE = 260
_LEFT, _TOP, _BELOW, _RIGHT = 64, 12, 42, 14
_WIDTH, _HEIGHT = 320, 180


def scatter_chart(title: str, points: Points, x_label: str, y_label: str) -> Markup:
    """Draw points (x, y) on equal axes, with the diagonal where both are the same; a few hundred of them are shown."""
    values = [value for point in points for value in point]
    marks = ticks(min(values), max(values))
    x_of = scale(marks[0], marks[-1], _LEFT, _LEFT + _SIDE)
    y_of = scale(marks[0], marks[-1], _TOP + _SIDE, _TOP)
    names = list(zip(marks, aligned(marks), strict=True))
    first, last = marks[0], marks[-1]
    return picture(
        title,
        (_LEFT + _SIDE + _RIGHT, _TOP + _SIDE + _BELOW),
        *(rule(_LEFT, y_of(mark), _LEFT + _SIDE, y_of(mark)) for mark in marks),
        *(text(_LEFT - 8, y_of(mark) + 4, name, anchor="end") for mark, name in names),
        *(text(x_of(mark), _TOP + _SIDE + 17, name) for mark, name in names),
        element("line", x1=x_of(first), y1=y_of(first), x2=x_of(last), y2=y_of(last), class_="diagonal"),
        *(element("circle", cx=x_of(x), cy=y_of(y), r=2.5, class_="dot series-1") for x, y in thinned(points)),
        text(_LEFT + _SIDE / 2, _TOP + _SIDE + 36, x_label),
        text(_LEFT, _TOP - 2, y_label, anchor="start"),
    )


def histogram(title: str, edges: Sequence[float], counts: Sequence[int], x_label: str) -> Markup:
    """Draw how many values there are between each two edges."""
    x_of = scale(edges[0], edges[-1], _LEFT, _WIDTH - _RIGHT)
    y_of = scale(0, max(counts) or 1, _HEIGHT - _BELOW, _TOP)
    marks = [mark for mark in ticks(edges[0], edges[-1]) if edges[0] <= mark <= edges[-1]]
    bars = [
        element(
            "rect",
            element("title", f"{count} from {low:.3g} to {high:.3g}"),
            x=x_of(low) + 0.5,
            y=y_of(count),
            width=max(x_of(high) - x_of(low) - 1, 0.5),
            height=y_of(0) - y_of(count),
            class_="bar",
        )
        for (low, high), count in zip(pairwise(edges), counts, strict=True)
        if count
    ]
    return picture(
        title,
        (_WIDTH, _HEIGHT),
        rule(_LEFT, y_of(0), _WIDTH - _RIGHT, y_of(0)),
        text(_LEFT - 8, y_of(max(counts)) + 8, max(counts), anchor="end"),
        *bars,
        *(text(x_of(mark), _HEIGHT - _BELOW + 17, name) for mark, name in zip(marks, aligned(marks), strict=True)),
        text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 5, x_label),
    )
