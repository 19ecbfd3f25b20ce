"""What is learnt of batches: a line, a margin, and sizes that follow from both."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from inference_service.batching.latency_model import LatencyModel


def test_nothing_is_promised_before_anything_was_measured() -> None:
    """Any number of rows may run, and takes no time that is known."""
    times = LatencyModel()
    assert (times.seconds(100), times.efficient_cost) == (0, 1)
    assert times.cost_within(0.001) > 1000


@given(first=st.floats(0.0, 1.0), each=st.floats(0.001, 1.0))
def test_a_line_is_learnt(first: float, each: float) -> None:
    """From batches of different sizes, whatever the device's own cost and that of a row."""
    times = LatencyModel()
    for num_rows in (1, 8, 3, 16, 2, 5) * 40:
        times.add(num_rows, first + each * num_rows)
    wanted = first + each * 10
    assert abs(times.seconds(10) - wanted) < 0.02 * wanted
    assert times.cost_within(wanted * 1.05) >= 10
    assert times.cost_within(first + each * 0.5) == 0


def test_batches_of_one_size_are_understood() -> None:
    """A line through the origin: what is known of one size is all there is."""
    times = LatencyModel()
    for _ in range(20):
        times.add(4, 0.4)
    assert abs(times.seconds(4) - 0.4) < 1e-6
    assert times.cost_within(0.41) == 4


def test_noise_widens_the_promise() -> None:
    """Where times vary, what is promised is kept nearly always."""
    times, noise = LatencyModel(), random.Random(0)
    kept = 0
    for _ in range(500):
        seconds = 0.01 * 8 * noise.uniform(0.8, 1.2)
        kept += seconds <= times.seconds(8)
        times.add(8, seconds)
    assert kept > 470


def test_a_device_that_gets_slower_is_followed() -> None:
    """Newer batches count more."""
    times = LatencyModel()
    for seconds in [0.1] * 100 + [0.2] * 100:
        times.add(1, seconds)
    assert 0.19 < times.seconds(1) < 0.3


def test_a_device_with_a_cost_of_its_own_wants_larger_batches() -> None:
    """The rows of which that cost is a small part."""
    times = LatencyModel()
    for num_rows in (1, 16, 32) * 50:
        times.add(num_rows, 0.010 + 0.001 * num_rows)
    assert 90 <= times.efficient_cost <= 110


def test_a_batch_that_took_long_once_changes_little_of_what_is_expected() -> None:
    """The promise allows for it for a while."""
    times = LatencyModel()
    for _ in range(40):
        times.add(1, 0.0003)
    times.add(1, 0.01)
    assert times.expected_seconds(1) < 0.001 < times.seconds(1)


def test_a_batch_that_came_late_is_allowed_for_in_batches_of_any_size() -> None:
    """By its share and not by its seconds, and less and less; of what took far too long only a part counts."""
    times = LatencyModel()
    for _ in range(40):
        times.add(4, 0.4)
    times.add(4, 0.5)
    assert times.seconds(16) > 1.3 * times.expected_seconds(16)
    for _ in range(200):
        times.add(4, 0.4)
    assert times.seconds(16) < 1.01 * times.expected_seconds(16)
    times.add(4, 100.0)
    assert times.seconds(16) < 3 * times.expected_seconds(16)


def test_a_batch_that_is_over_its_time_is_allowed_for_before_it_ends() -> None:
    """As if it had come late by so much already; what is expected stays as it was."""
    times = LatencyModel()
    for _ in range(40):
        times.add(4, 0.4)
    assert times.allowance == 1
    times.note_late(0.2)
    times.note_late(0.1)
    assert times.allowance > 1.4
    assert abs(times.expected_seconds(4) - 0.4) < 1e-6
    times.note_late(100.0)
    assert times.seconds(4) < 3 * times.expected_seconds(4)
