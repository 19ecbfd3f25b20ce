"""Recommendation of a base: regret after fine-tuning, and its time.

Each set is split again and again. On every split the service recommends a base, then fine-tunes all candidates with
`last_stages`. The truth of a candidate is its mean test accuracy over the splits. One candidate of each set is an
earlier fine-tune of another candidate on a neighbour's data.
"""

from __future__ import annotations

import csv
import random
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from maas.training.v1 import training_pb2 as pb

from benchmarks.choosing_parts.subjects import SUBJECTS, Example, Subject, digits_subject
from benchmarks.harness.figures import Figure, Options
from benchmarks.harness.training import Training, training
from maas_client.transfers.publish import publish_base

_VALIDATION = 5  # every fifth training row
_NEIGHBOUR = "neighbour"
_TUNED = pb.Recipe(classic={"epoch_count": 5})  # which moves all stages, and keeps what the last epoch gives


@dataclass
class _Measured:
    """What one set gave: accuracies by candidate, the candidate chosen and the ratio of times, of each split."""

    tuned: dict[str, list[float]]
    chosen: list[str]
    ratios: list[float]


def recommend(folder: Path, options: Options) -> Iterator[Figure]:
    """Recommend on every set and split, and compare with what fine-tuning every candidate gives."""
    subjects = [digits_subject] if options.quick else SUBJECTS
    regrets: list[float] = []
    static: list[float] = []
    for make in subjects:
        place = folder / make.__name__
        place.mkdir()
        subject = make(place, options)
        found = _measure(place, subject, num_splits=1 if options.quick else 3)
        truth = {name: fmean(each) for name, each in found.tuned.items()}
        best = max(truth.values())
        regrets.append(100 * (best - fmean(truth[each] for each in found.chosen)))
        static.append(100 * (best - truth[next(iter(subject.bases))]))
        for name, accuracy in truth.items():
            times = found.chosen.count(name)
            yield Figure(f"{subject.name}: {name}, fine-tuned; chosen {times} times", 100 * accuracy, "%")
        yield Figure(f"{subject.name}: regret", regrets[-1], "points")
        yield Figure(f"{subject.name}: regret of the static order", static[-1], "points")
        bar = "" if options.quick else "<= 0.1"
        yield Figure(f"{subject.name}: a recommendation / last_stages of all", fmean(found.ratios), "of the time", bar)
    bars = ("", "", "") if options.quick else ("<= 0.5", "<= 2", f"<= {fmean(static)}")
    yield Figure("regret, mean over the sets", fmean(regrets), "points", bars[0])
    yield Figure("regret, largest", max(regrets), "points", bars[1])
    yield Figure("regret, mean, against that of the static order", fmean(regrets), "points", bars[2])
    yield Figure("regret of the static order, mean over the sets", fmean(static), "points")


def _measure(folder: Path, subject: Subject, num_splits: int) -> _Measured:
    found = _Measured({name: [] for name in (*subject.bases, _NEIGHBOUR)}, [], [])
    with training(folder) as service:
        for name, base in subject.bases.items():
            publish_base(service.client, name, base)
        neighbour = _split(folder / _NEIGHBOUR, subject.neighbour, len(subject.neighbour) * 4 // 5, None, 0)
        _upload(service, _NEIGHBOUR, neighbour)
        service.job(_NEIGHBOUR, _TUNED, base=subject.tuned, model=_NEIGHBOUR).check()
        for seed in range(num_splits):
            _compare(service, folder, subject, seed, found)
    return found


def _compare(service: Training, folder: Path, subject: Subject, seed: int, found: _Measured) -> None:
    """Recommend on one split, then train all candidates, with nothing cached at the start of either."""
    dataset = f"split-{seed}"
    data = _split(folder / dataset, subject.examples, subject.num_train, subject.num_test, seed)
    _upload(service, dataset, data)
    names = list(found.tuned)
    begun = time.perf_counter()
    answer = service.client.recommend(dataset, bases=names)
    seconds = time.perf_counter() - begun
    found.chosen.append(_model_of(answer.chosen))
    shutil.rmtree(folder / "cache" / "arrays")
    taken = 0.0
    for name in names:
        job = service.job(dataset, pb.Recipe(last_stages={}), base=name, model=f"tuned-{name}")
        found.tuned[name].append(job.accuracy)
        taken += job.seconds
    found.ratios.append(seconds / taken)


def _model_of(base: pb.RecommendedBase) -> str:
    return base.base.split("/")[1]


def _split(folder: Path, examples: Sequence[Example], num_train: int, num_test: int | None, seed: int) -> Path:
    """Write some examples, drawn by a seed, by split: a folder of links to files, or a table of texts."""
    drawn = random.Random(seed).sample(examples, len(examples))
    end = None if num_test is None else num_train + num_test
    rows = [
        (*each, "validation" if place % _VALIDATION == 0 else "train") for place, each in enumerate(drawn[:num_train])
    ]
    rows += [(*each, "test") for each in drawn[num_train:end]]
    folder.mkdir()
    if isinstance(rows[0][1], str):
        with (folder / "texts.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("label", "text", "split"), *rows])
        return folder / "texts.csv"
    for number, (label, path, split) in enumerate(rows):
        link = folder / split / label / f"{number}{Path(path).suffix}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)
    return folder


def _upload(service: Training, dataset: str, data: Path) -> None:
    columns = {"text": "feature", "label": "target"} if data.suffix else None
    service.client.upload_dataset(dataset, data, columns=columns)
