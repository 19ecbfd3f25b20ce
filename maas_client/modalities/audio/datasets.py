"""What a dataset of recordings looks like, as text."""

from __future__ import annotations

from collections.abc import Iterator

from maas.training.v1 import training_pb2


def facts(summary: training_pb2.AudioSummary) -> Iterator[tuple[str, str]]:
    """Yield what is known of all recordings together."""
    shortest, middle, longest = (
        f"{each / 1000:.2f}"
        for each in (summary.milliseconds.min, summary.milliseconds.median, summary.milliseconds.max)
    )
    total = summary.total_duration.ToMilliseconds() / 1000
    yield "durations", f"{shortest} to {longest} s (median {middle} s), {total / 60:,.1f} minutes together"
    channels = f"{summary.max_channel_count} channels" if summary.max_channel_count > 1 else "1 channel"
    rates = ", ".join(f"{rate:,}" for rate in summary.sample_rates_hertz)
    yield "sound", f"{rates} samples a second, {channels} at most"
    if summary.silent_count:
        yield "silent", f"{summary.silent_count:,} recordings"
