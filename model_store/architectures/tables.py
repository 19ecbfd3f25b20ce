"""Architectures for rows of a table: fitted preprocessing, then a head (`table`), or a network (`table_mlp`).

`table_text` is for rows with a text: an encoder's own stages, which keep their names and tensors and so their digests,
then the preprocessing of the other columns, and a head over the features of both.

Arguments: `numbers`, the size of the row's numbers; `indicators`, the places of those whose absence is a feature of its
own; `dates`, the places of dates; `categories`, the number of indices of each column of categories; `scaling`,
standard or quantile; `widths`, of each hidden layer of `table_mlp`; `text`, the name and the arguments of
`table_text`'s encoder.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self, cast

from torch import nn

from model_store.architectures.chain import HEAD, Chain
from model_store.architectures.head import Head
from model_store.architectures.table_stages import (
    DATE_PARTS,
    Dates,
    Embed,
    Impute,
    Join,
    OneHot,
    Quantile,
    Select,
    Standardise,
)
from model_store.architectures.text import encoder
from model_store.errors import InvalidManifest
from model_store.modalities.spec import InputSpec
from model_store.modalities.table.spec import MAX_COLUMNS, TableInputSpec

MODALITY = "table"
_MAX_FEATURES = 1_000_000
_MAX_WIDTH, _MAX_LAYERS = 65_536, 64
_NUM_QUANTILES = 101
_SCALINGS = ("standard", "quantile")
_TEXT = "text"


@dataclass(frozen=True)
class TableArguments:
    """The arguments of both architectures, checked."""

    numbers: int
    indicators: tuple[int, ...]
    dates: tuple[int, ...]
    categories: tuple[int, ...]
    scaling: str
    widths: tuple[int, ...]

    @classmethod
    def read(cls, arguments: Mapping[str, Any]) -> Self:
        """Read arguments; raise InvalidManifest naming the wrong one."""
        known = {"numbers", "indicators", "dates", "categories", "scaling", "widths"}
        if unknown := set(arguments) - known:
            raise InvalidManifest(f"architectures of tables have no argument {', '.join(sorted(unknown))}")
        numbers = arguments.get("numbers", 0)
        if type(numbers) is not int or not 0 <= numbers <= MAX_COLUMNS:
            raise InvalidManifest(f"the argument numbers must be 0 to {MAX_COLUMNS}, not {numbers!r}")
        scaling = arguments.get("scaling", _SCALINGS[0])
        if scaling not in _SCALINGS:
            raise InvalidManifest(f"the argument scaling must be one of {', '.join(_SCALINGS)}, not {scaling!r}")
        indicators, dates = (_integers(arguments, name, 0, numbers - 1) for name in ("indicators", "dates"))
        categories = _integers(arguments, "categories", 2, _MAX_FEATURES)
        widths = _integers(arguments, "widths", 1, _MAX_WIDTH)
        if len(widths) > _MAX_LAYERS:
            raise InvalidManifest(f"the argument widths must be at most {_MAX_LAYERS} integers")
        read = cls(numbers, indicators, dates, categories, scaling, widths)
        if (not numbers and not categories) or read.num_features > _MAX_FEATURES:
            raise InvalidManifest(f"the arguments must make 1 to {_MAX_FEATURES} features")
        return read

    @classmethod
    def of_columns(cls, arguments: Mapping[str, Any]) -> Self:
        """Read the arguments for the columns that are no texts; raise InvalidManifest naming the wrong one."""
        return cls.read({name: value for name, value in arguments.items() if name != _TEXT})

    @property
    def num_numbers(self) -> int:
        """The size of numbers behind the preprocessing of numbers."""
        return self.numbers + len(self.indicators) + len(DATE_PARTS) * len(self.dates)

    @property
    def num_features(self) -> int:
        """The size of x with a feature for each category."""
        return self.num_numbers + sum(self.categories)


def check_input(arguments: Mapping[str, Any], spec: InputSpec) -> None:
    """Raise InvalidManifest unless the columns of the spec are those of the arguments."""
    read, spec = TableArguments.of_columns(arguments), cast("TableInputSpec", spec)
    sizes = tuple(each.num_categories for each in spec.category_columns)
    found = (len(spec.number_columns), spec.date_places, sizes)
    if found != (read.numbers, read.dates, read.categories):
        raise InvalidManifest("input_spec.columns must be those that the architecture's arguments are made for")
    if (_TEXT in arguments) != (spec.text is not None):
        raise InvalidManifest("input_spec.text must be there for table_text, and for no other architecture of tables")
    if spec.text is not None:
        encoder.check_input(_encoder_of(arguments)[1], spec.text)


def borrows_from(arguments: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]] | None:
    """Return the architecture, and its arguments, whose backbone the chain begins with; None where it has none."""
    return _encoder_of(arguments) if _TEXT in arguments else None


def _table(arguments: Mapping[str, Any], head: Head) -> Chain:
    """Build the preprocessing (`impute`, `dates`, `scale`, `onehot`, `select`), and a linear head."""
    read = TableArguments.read(arguments)
    size = read.num_features
    features = [("onehot", OneHot(read.num_numbers, read.categories)), ("select", Select(size))]
    return Chain([*_numbers(read), *features, *_head(head, size)], size)


def _table_text(arguments: Mapping[str, Any], head: Head) -> Chain:
    """Build the stages of the encoder, the preprocessing (`impute`, `dates`, `scale`), `join`, `select`, and a head."""
    read = TableArguments.of_columns(arguments)
    if read.widths:
        raise InvalidManifest("table_text has no argument widths")
    name, own = _encoder_of(arguments)
    backbone = encoder.BUILDERS[name](own, Head("none"))
    size = read.num_features + backbone.embedding_size
    features = [("join", Join(read.num_numbers, read.categories)), ("select", Select(size))]
    return Chain([*backbone.backbone, *_numbers(read), *features, *_head(head, size)], size)


def _table_mlp(arguments: Mapping[str, Any], head: Head) -> Chain:
    """Build the preprocessing of numbers, `embed` with a vector for each category, `layer1` …, and a linear head."""
    read = TableArguments.read(arguments)
    vectors = [embedding_width(size) for size in read.categories]
    widths = [read.num_numbers + sum(vectors), *read.widths]
    layers = [(f"layer{place}", _layer(*sizes)) for place, sizes in enumerate(pairwise(widths), start=1)]
    embed = ("embed", Embed(read.num_numbers, read.categories, vectors))
    return Chain([*_numbers(read), embed, *layers, *_head(head, widths[-1])], widths[-1])


def embedding_width(num_categories: int) -> int:
    """Return the size of the vectors of a column of categories: fastai's rule, min(600, 1.6 n^0.56), and 64 at most."""
    return min(64, round(1.6 * math.exp(0.56 * math.log(num_categories))))


def _numbers(read: TableArguments) -> list[tuple[str, nn.Module]]:
    if not read.numbers:
        return []
    dates: list[tuple[str, nn.Module]] = [("dates", Dates(read.dates))] if read.dates else []
    size = read.num_numbers
    scale = Standardise(size) if read.scaling == "standard" else Quantile(size, _NUM_QUANTILES)
    return [("impute", Impute(read.numbers, read.indicators)), *dates, ("scale", scale)]


def _layer(size: int, width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(size, width), nn.ReLU(), nn.Dropout(0.1))


def _head(head: Head, size: int) -> list[tuple[str, nn.Module]]:
    if head.kind == "conv":
        raise InvalidManifest("head.kind 'conv' is squeezenet1_1's own; tables take 'linear' or 'none'")
    return [] if head.kind == "none" else [(HEAD, nn.Linear(size, head.outputs))]


def _encoder_of(arguments: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Return the name and the arguments of the encoder; raise InvalidManifest where there is none."""
    text = arguments.get(_TEXT)
    if (
        not isinstance(text, Mapping)
        or set(text) != {"name", "arguments"}
        or not isinstance(text["arguments"], Mapping)
    ):
        raise InvalidManifest("the argument text must be an object with the name and the arguments of an encoder")
    if text["name"] not in encoder.BUILDERS:
        known = ", ".join(encoder.BUILDERS)
        raise InvalidManifest(f"the argument text must name one of {known}, not {str(text['name'])[:80]!r}")
    return text["name"], text["arguments"]


def _integers(arguments: Mapping[str, Any], name: str, least: int, most: int) -> tuple[int, ...]:
    values: Sequence[Any] = arguments.get(name, ())
    if isinstance(values, list | tuple) and all(type(each) is int and least <= each <= most for each in values):
        return tuple(values)
    raise InvalidManifest(f"the argument {name} must be a list of integers in {least}..{most}, not {str(values)[:80]}")


BUILDERS = {"table": _table, "table_mlp": _table_mlp, "table_text": _table_text}
