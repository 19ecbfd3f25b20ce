"""What is learnt of batches: how long one takes, and which ends in time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from inference_service.batching.latency_model import LatencyModel


def test_nothing_is_promised_before_anything_was_measured() -> None:
    """Any number of rows may run, and takes no time that is known."""
    times = LatencyModel()
    assert times.seconds(100) == 0
    assert times.cost_within(0.001) > 1000


@given(first=st.floats(0.0, 1.0), each=st.floats(0.001, 1.0))
def test_a_line_is_learnt(first: float, each: float) -> None:
    """From batches of different sizes, whatever the device's own cost and that of a row; less is promised."""
    times = LatencyModel()
    for num_rows in (1, 8, 3, 16, 2, 5) * 40:
        times.add(num_rows, first + each * num_rows)
    wanted = first + each * 10
    assert abs(times.seconds(10) - wanted) < 0.02 * wanted
    assert times.cost_within(wanted) < 10 <= times.cost_within(1.6 * wanted)
    assert times.cost_within(first + each * 0.5) == times.cost_within(-1.0) == 0


def test_batches_of_one_size_are_understood() -> None:
    """A line through the origin: what is known of one size is all there is."""
    times = LatencyModel()
    for _ in range(20):
        times.add(4, 0.4)
    assert abs(times.seconds(4) - 0.4) < 1e-6
    assert times.cost_within(0.61) == 4


def test_a_device_with_a_cost_of_its_own_wants_larger_batches() -> None:
    """The rows of which that cost is a small part."""
    times = LatencyModel()
    assert times.efficient_cost == 1
    for num_rows in (1, 16, 32) * 50:
        times.add(num_rows, 0.010 + 0.001 * num_rows)
    assert 90 <= times.efficient_cost <= 110


def test_a_device_that_gets_slower_is_followed() -> None:
    """Newer batches count more."""
    times = LatencyModel()
    for seconds in [0.1] * 100 + [0.2] * 100:
        times.add(1, seconds)
    assert 0.19 < times.seconds(1) < 0.21


def test_a_batch_that_took_long_once_changes_little_of_what_is_expected() -> None:
    """Its share of all that was measured."""
    times = LatencyModel()
    for _ in range(40):
        times.add(1, 0.0003)
    times.add(1, 0.01)
    assert times.seconds(1) < 0.001


def test_a_prediction_that_lets_nothing_run_is_lowered() -> None:
    """Little by little, until it does."""
    times = LatencyModel()
    times.doubt()
    times.add(1, 1.0)
    for _ in range(100):
        times.doubt()
    assert 0 < times.seconds(1) < 0.1
