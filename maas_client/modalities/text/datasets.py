"""What a dataset of texts looks like, as text."""

from __future__ import annotations

from collections.abc import Iterator

from maas.training.v1 import training_pb2


def facts(summary: training_pb2.TextSummary) -> Iterator[tuple[str, str]]:
    """Yield what is known of all texts together."""
    words = summary.words
    yield "words", f"{words.min:,} to {words.max:,} a text (median {words.median:,})"
