"""What is worth a look in a dataset before anything is trained: a few sentences, each with its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training_service.advice.contradictions import contradictions
from training_service.advice.label_issues import Labels, Shares, likely_wrong
from training_service.advice.leaks import leaks
from training_service.advice.learning_curve import learning_curve
from training_service.advice.outliers import outliers

MAX_ROWS = 20
"""Rows that a piece of advice names."""
_LEAST_TO_LEARN, _LEAST_TO_MEASURE = 10, 5
Columns = Sequence[tuple[str, NDArray[np.float64]]]


class AdviceKind(StrEnum):
    """What a piece of advice is about."""

    WRONG_LABELS = "wrong_labels"
    CONTRADICTIONS = "contradictions"
    OUTLIERS = "outliers"
    SMALL_LABELS = "small_labels"
    MORE_ROWS = "more_rows"
    LEAK = "leak"


@dataclass(frozen=True)
class Advice:
    """One sentence, the first of the rows that it is about, and how many these are."""

    kind: AdviceKind
    text: str
    rows: tuple[str, ...] = ()
    num_rows: int = 0


@dataclass(frozen=True)
class Examined:
    """A sample of a dataset's rows: their names, embeddings [n, d], and targets [n] or [n, t]."""

    names: Sequence[str]
    features: NDArray[np.float32]
    targets: NDArray[Any]
    columns: Columns = ()

    def named(self, rows: Sequence[int] | NDArray[np.int64]) -> tuple[str, ...]:
        """Return the names of the first of some rows."""
        return tuple(self.names[row] for row in list(rows)[:MAX_ROWS])


def advise_on_labels(
    examined: Examined,
    labels: Sequence[str],
    shares: Shares,
    errors_at: Callable[[int], Sequence[float]],
    num_test: NDArray[np.int64],
) -> Iterator[Advice]:
    """Yield what a dataset of labels needs; `shares` [n, labels] are of rows that a model was fitted without.

    `errors_at` returns the shares of wrong answers of a few models that were fitted on so many rows, and `num_test` is
    the number of test rows of each label.
    """
    yield from _wrong_labels(examined, labels, shares)
    yield from _contradictions(examined, labels)
    yield from advise(examined, is_label=True)
    yield from _small_labels(labels, np.bincount(examined.targets, minlength=len(labels)), num_test)
    curve = learning_curve(len(examined.names), errors_at)
    yield Advice(
        AdviceKind.MORE_ROWS,
        f"twice the rows would lower the share of wrong answers, {curve.errors[-1]:.3f}, by about {curve.gain:.3f} "
        f"({curve.least_gain:.3f} to {curve.most_gain:.3f})",
    )


def advise(examined: Examined, *, is_label: bool) -> Iterator[Advice]:
    """Yield what a dataset of any targets needs."""
    if len(far := outliers(examined.features)):
        yield Advice(
            AdviceKind.OUTLIERS,
            f"{_rows(len(far))} far from all others: look whether {'it belongs' if len(far) == 1 else 'they belong'}",
            examined.named(far),
            len(far),
        )
    targets = examined.targets if examined.targets.ndim == 1 else examined.targets[:, 0]
    for name, score in leaks(examined.columns, targets, is_label=is_label):
        yield Advice(
            AdviceKind.LEAK,
            f"column {name!r} alone tells the target ({score:.3f} of 1): is it known when predictions are made?",
        )


def _wrong_labels(examined: Examined, labels: Sequence[str], shares: Shares) -> Iterator[Advice]:
    rows = likely_wrong(shares, examined.targets)
    if len(rows):
        others = shares.copy()
        others[np.arange(len(shares)), examined.targets] = -np.inf
        named = tuple(
            f"{examined.names[row]}: {labels[examined.targets[row]]!r}, rather {labels[others[row].argmax()]!r}"
            for row in rows[:MAX_ROWS].tolist()
        )
        text = f"{len(rows)} of {len(shares)} labels are likely wrong, the likeliest first"
        yield Advice(AdviceKind.WRONG_LABELS, text, named, len(rows))


def _contradictions(examined: Examined, labels: Sequence[str]) -> Iterator[Advice]:
    pairs = list(contradictions(examined.features, examined.targets))
    if pairs:
        named = tuple(
            " and ".join(f"{examined.names[row]}: {labels[examined.targets[row]]!r}" for row in pair)
            for pair in pairs[:MAX_ROWS]
        )
        text = f"{len(pairs)} pairs of rows are nearly the same and have different labels"
        yield Advice(AdviceKind.CONTRADICTIONS, text, named, len(pairs))


def _small_labels(labels: Sequence[str], counts: Labels, num_test: Labels) -> Iterator[Advice]:
    few = [
        f"{name!r} ({count})" for name, count in zip(labels, counts.tolist(), strict=True) if count < _LEAST_TO_LEARN
    ]
    if few:
        text = f"too few rows to learn from, fewer than {_LEAST_TO_LEARN}: {', '.join(few[:MAX_ROWS])}"
        yield Advice(AdviceKind.SMALL_LABELS, text)
    untested = [
        f"{name!r} ({count})"
        for name, count in zip(labels, num_test.tolist(), strict=True)
        if count < _LEAST_TO_MEASURE
    ]
    if untested:
        text = f"too few test rows to measure by, fewer than {_LEAST_TO_MEASURE}: {', '.join(untested[:MAX_ROWS])}"
        yield Advice(AdviceKind.SMALL_LABELS, text)


def _rows(count: int) -> str:
    return "1 row is" if count == 1 else f"{count} rows are"
