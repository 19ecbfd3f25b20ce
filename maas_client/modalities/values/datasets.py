"""What a dataset of rows of numbers looks like, as text."""

from __future__ import annotations

from collections.abc import Iterator

from maas.training.v1 import training_pb2


def facts(summary: training_pb2.ValuesSummary) -> Iterator[tuple[str, str]]:
    """Yield what is known of all rows together."""
    yield "features", f"{summary.feature_count:,} numbers a row"
