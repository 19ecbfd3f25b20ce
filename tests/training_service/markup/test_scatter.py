"""Charts of predicted and true values stay within their pictures, and say what they show."""

from __future__ import annotations

import pytest

from training_service.markup.picture import Bar, Dot, Label
from training_service.markup.scatter import histogram, scatter_chart


@pytest.mark.parametrize("size", [1e-6, 1, 1e6])
def test_equal_values_are_on_the_diagonal(size: float) -> None:
    """On equal axes, whatever the numbers' size; a point above it was predicted too high."""
    chart = scatter_chart("p", [(0, 0), (size, size), (0, size)], "true", "predicted")
    places = [(mark.x, mark.y) for mark in chart.marks if isinstance(mark, Dot)]
    left, top, side = 64, 12, 260
    assert [x - left + y - top for x, y in places[:2]] == pytest.approx([side, side])
    assert places[2][0] - left + places[2][1] - top < side - 50
    assert all(left <= x <= left + side and top <= y <= top + side for x, y in places)
    assert {"true", "predicted"} <= {mark.text for mark in chart.marks if isinstance(mark, Label)}


def test_one_value_alone_can_be_drawn() -> None:
    """There is no range to divide by."""
    chart = scatter_chart("p", [(3, 3)], "true", "predicted")
    assert len([mark for mark in chart.marks if isinstance(mark, Dot)]) == 1
    assert any(isinstance(mark, Bar) for mark in histogram("r", [2.5, 3.5], [4], "predicted - true").marks)


def test_bars_are_as_high_as_there_are_values() -> None:
    """Side by side from edge to edge; one without any is left out, and each says what it is in words."""
    chart = histogram("r", [-1, 0, 1, 2], [2, 0, 4], "predicted - true")
    few, many = [mark for mark in chart.marks if isinstance(mark, Bar)]
    assert many.height == pytest.approx(2 * few.height)
    assert many.hint == "4 from 1 to 2"
