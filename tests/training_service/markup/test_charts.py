"""Charts are drawn within their frame, on round numbers, whatever the figures are."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from training_service.markup.axes import aligned, thinned, ticks
from training_service.markup.charts import Bin, Series, line_chart, reliability_diagram
from training_service.markup.picture import Bar, Label, Path
from training_service.markup.sections import Table

numbers = st.floats(-1e6, 1e6).map(lambda number: float(f"{number:.6g}"))


@given(numbers, numbers)
@example(0.0, 0.0)
@example(0.7778, 0.7778)
def test_ticks_are_few_even_and_enclose_what_is_shown(one: float, other: float) -> None:
    """Three to seven, at equal distances, from below the lowest to above the highest."""
    low, high = min(one, other), max(one, other)
    found = ticks(low, high)
    slack = (found[-1] - found[0]) * 1e-6
    assert 3 <= len(found) <= 7
    assert found[0] <= low + slack
    assert found[-1] >= high - slack
    steps = [after - before for before, after in pairwise(found)]
    assert max(steps) == pytest.approx(min(steps), rel=1e-3)


@pytest.mark.parametrize(("last", "expected"), [(1, [1]), (2, [1, 2]), (12, [2, 4, 6, 8, 10, 12])])
def test_epochs_are_whole(last: int, expected: list[int]) -> None:
    """There is no epoch 1.5."""
    assert ticks(1, last, whole=True) == expected


def test_numbers_of_an_axis_have_the_same_decimals() -> None:
    """So that they stand in line; very small ones are written as they are."""
    assert aligned([0.8, 0.825, 0.85]) == ["0.800", "0.825", "0.850"]
    assert aligned([0.0, 5.0, 10.0]) == ["0", "5", "10"]
    assert aligned([1e-6, 2e-6]) == ["1e-06", "2e-06"]


def test_many_points_are_thinned_and_the_last_one_stays() -> None:
    """A line of a few hundred points looks the same."""
    points = [(float(number), 0.0) for number in range(10_001)]
    assert thinned(points)[-1] == points[-1]
    assert 200 <= len(thinned(points)) <= 400
    assert thinned(points[:400]) == points[:400]


@given(st.lists(st.floats(0, 50), min_size=1, max_size=30), st.lists(st.floats(0, 50), min_size=1, max_size=30))
def test_lines_stay_within_the_picture(one: list[float], other: list[float]) -> None:
    """Whatever the losses were; and the two names do not cover one another."""
    lines = [Series("a", list(enumerate(one, 1)), 1), Series("b", list(enumerate(other, 1)), 2)]
    chart = line_chart("loss", "epoch", lines)
    points = [point for mark in chart.marks if isinstance(mark, Path) for point in mark.points]
    assert all(0 <= x <= 420 and 0 <= y <= 240 for x, y in points)
    ys = [mark.y for mark in chart.marks if isinstance(mark, Label) and mark.anchor == "start"]
    assert ys[1] - ys[0] >= 14.9


def test_a_reliability_bar_ends_where_the_version_is_right() -> None:
    """Surer than right and less sure than right look different, and each bar says what it is in words."""
    diagram = reliability_diagram("r", [Bin(4, 0.9, 0.5), Bin(0, 0.0, 0.0), Bin(2, 0.6, 1.0)], "rows")
    bars = {mark.look: mark for mark in diagram.marks if isinstance(mark, Bar) and mark.look in {"over", "under"}}
    assert {look: bar.height for look, bar in bars.items()} == pytest.approx({"over": 230 * 0.4, "under": 230 * 0.4})
    assert bars["over"].hint == "4 rows: accuracy 50%, confidence 90%"
    assert bars["under"].hint == "2 rows: accuracy 100%, confidence 60%"


def test_of_a_long_table_the_first_rows_are_open_and_some_hundreds_more_can_be() -> None:
    """Of up to 30 rows all are; a page has 1,000 of them at most."""
    rows = [(f"row {number}", "1") for number in range(1500)]
    assert not Table("T", ("Label", "n"), rows[:30], "labels").is_long
    table = Table("T", ("Label", "n"), rows, "labels")
    assert table.is_long
    assert (len(table.opened), len(table.shown)) == (30, 1000)
