"""The interval of a recommendation: how often it holds the test accuracy of the probe that it is about.

Features of every base are computed once. On each of many redrawn splits a quarter of the rows is compared on as the
service does, and a linear probe on these rows answers all others: their number adds little noise of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from benchmarks.choosing_parts.labels import embedded
from benchmarks.choosing_parts.subjects import SUBJECTS, Subject, digits_subject
from benchmarks.harness.figures import Figure, Options
from model_store.tasks import Classification
from training_service.choosing.probing import Comparison
from training_service.training.heads import Features, HeadFitter, choose_head

_LEARNED = 4  # every fourth row
_VALIDATION = 5  # of these every fifth chooses the strength
_NUM_SPLITS, _QUICK_SPLITS = 20, 3


def width(folder: Path, options: Options) -> Iterator[Figure]:
    """Compare every base of every set on redrawn splits."""
    held: list[bool] = []
    for make in (digits_subject,) if options.quick else SUBJECTS:
        place = folder / make.__name__
        place.mkdir()
        subject = make(place, options)
        found = list(_held(subject, _QUICK_SPLITS if options.quick else _NUM_SPLITS))
        held += found
        yield Figure(f"{subject.name}: 90 % intervals with the probe's test accuracy", fmean(found), "")
    bars = ("", "") if options.quick else (">= 0.8", "<= 0.98")
    for name, bar in zip(("at least", "at most"), bars, strict=True):
        yield Figure(f"90 % intervals with the probe's test accuracy, {name}", fmean(held), "", bar)


def _held(subject: Subject, num_splits: int) -> Iterator[bool]:
    task = Classification(tuple(sorted({label for label, _ in subject.examples})))
    labels = np.array([task.names.index(label) for label, _ in subject.examples])
    contents = [each.read_bytes() if isinstance(each, Path) else each.encode() for _, each in subject.examples]
    features = [embedded(base, contents) for base in subject.bases.values()]
    for seed in range(num_splits):
        order = np.random.default_rng(seed).permutation(len(labels))
        learned, others = np.split(order, [len(order) // _LEARNED])
        comparison = Comparison.of(task, labels[learned], lambda: None)
        for each in features:
            low, high = comparison.probe(each[learned]).interval
            yield low <= _accuracy(comparison, each, labels, learned, others) <= high


def _accuracy(
    comparison: Comparison,
    features: Features,
    labels: NDArray[np.int64],
    learned: NDArray[np.int64],
    others: NDArray[np.int64],
) -> float:
    """Return the accuracy on the other rows of a head that is fitted as a linear probe fits it."""
    task, count = comparison.training_task, len(comparison.task.names)
    validates = np.arange(len(learned)) % _VALIDATION == 0
    fitter = HeadFitter(features[learned], task)
    train, validation = ((features[rows], labels[rows]) for rows in (learned[~validates], learned[validates]))
    chosen = choose_head(fitter, train, validation, count, lambda *_: None)
    head = fitter.fit(features[learned], labels[learned], count, chosen.strength)
    return float((head.outputs(features[others]).argmax(axis=1) == labels[others]).mean())
