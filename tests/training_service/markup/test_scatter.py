"""Charts of predicted and true values stay within their pictures, and say what they show."""

from __future__ import annotations

import re

import pytest

from training_service.markup.scatter import histogram, scatter_chart


def numbers(name: str, chart: str) -> list[float]:
    """Return the values of an attribute, in the order of the elements."""
    return [float(each) for each in re.findall(rf' {name}="(-?[\d.]+)"', chart)]


@pytest.mark.parametrize("size", [1e-6, 1, 1e6])
def test_equal_values_are_on_the_diagonal(size: float) -> None:
    """On equal axes, whatever the numbers' size; a point above it was predicted too high."""
    chart = scatter_chart("p", [(0, 0), (size, size), (0, size)], "true", "predicted")
    places = list(zip(numbers("cx", chart), numbers("cy", chart), strict=True))
    left, top, side = 64, 12, 260
    assert [x - left + y - top for x, y in places[:2]] == pytest.approx([side, side], abs=1)
    assert places[2][0] - left + places[2][1] - top < side - 50
    assert all(left <= x <= left + side and top <= y <= top + side for x, y in places)
    assert ">true<" in chart
    assert ">predicted<" in chart


def test_one_value_alone_can_be_drawn() -> None:
    """There is no range to divide by."""
    assert scatter_chart("p", [(3, 3)], "true", "predicted").count("<circle") == 1
    assert "<rect" in histogram("r", [2.5, 3.5], [4], "predicted - true")


def test_bars_are_as_high_as_there_are_values() -> None:
    """Side by side from edge to edge; one without any is left out, and each says what it is in words."""
    chart = histogram("r", [-1, 0, 1, 2], [2, 0, 4], "predicted - true")
    heights = numbers("height", chart)
    assert len(heights) == 2
    assert heights[1] == pytest.approx(2 * heights[0])
    assert "4 from 1 to 2" in chart
