"""Charts of predicted and true values stay within their pictures, and say what they show."""

from __future__ import annotations

import pytest

from training_service.markup.picture import Bar, Dot, Label, Path
from training_service.markup.scatter import Estimate, histogram, interval_chart, scatter_chart


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


@pytest.mark.parametrize("factor", [1.0, 1.5, 30.0, 1e5])
def test_an_interval_stands_at_its_latency(factor: float) -> None:
    """Slower is to the right, better is higher, whatever the span; the chosen one is told by its colour."""
    estimates = [Estimate("1", 0.07 * factor, 0.9, 0.8, 0.95), Estimate("2", 0.07, 0.7, 0.7, 0.7, is_chosen=True)]
    chart = interval_chart("accuracy by latency", estimates, "ms", "accuracy")
    first, second = [mark for mark in chart.marks if isinstance(mark, Dot)]
    assert (first.x > second.x) == (factor > 1)
    assert first.y < second.y
    assert (first.look, second.look) == ("dot series-1", "dot series-2")
    low, high = next(mark.points for mark in chart.marks if isinstance(mark, Path))
    assert low[0] == high[0] == first.x
    assert high[1] < first.y < low[1]
    assert all(0 <= mark.x <= chart.width and 0 <= mark.y <= chart.height for mark in (first, second))
    assert {"1", "2", "ms", "accuracy"} <= {mark.text for mark in chart.marks if isinstance(mark, Label)}
