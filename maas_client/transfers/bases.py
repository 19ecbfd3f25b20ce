"""Weights to begin with: from a package, a file, or random ones under a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from maas_client.errors import InvalidArgument
from model_store.bases import catalogue
from model_store.bases.catalogue import LoadedBase
from model_store.bases.tabular import MLP, ROWS, load_random_mlp, load_rows
from model_store.bases.text.random import GRU, load_random_gru
from model_store.labels import check_labels, read_labels

_NUM_MLP_LABELS = 10


def load_base(
    architecture: str,
    *,
    source: str = "",
    weights: Path | str | None = None,
    labels: Sequence[str] | Path | None = None,
    random: int | None = None,
    num_labels: int | None = None,
    widths: Sequence[int] = (),
    show_progress: bool = False,
) -> LoadedBase:
    """Load one of the catalogue's bases, a file of weights, or random ones; see `Client.import_base`.

    Raises InvalidArgument where what is given does not go together, and StoreError where the weights do not fit.
    """
    if sum(choice is not None for choice in (source or None, weights, random)) > 1:
        raise InvalidArgument("source, weights and random exclude one another: give one of them")
    if labels is not None and weights is None and random is None:
        raise InvalidArgument("labels go with weights or random: the other sources bring their own labels")
    if architecture == ROWS:
        if len(widths) != 1 or any(
            choice is not None for choice in (source or None, weights, random, labels, num_labels)
        ):
            raise InvalidArgument("rows needs `widths`, the numbers in a row, such as 64, and nothing else")
        return load_rows(widths[0])
    if (widths or num_labels is not None) and random is None:
        raise InvalidArgument("widths and num-labels go with random: all other weights have their own sizes")
    names = read_labels(labels) if isinstance(labels, Path) else None if labels is None else list(labels)
    if random is not None:
        return _random(architecture, random, num_labels, names, widths)
    if architecture == MLP:
        raise InvalidArgument("mlp begins at random: give it `random` (a seed) and `widths`, such as 64,256")
    if weights is not None:
        return catalogue.load_weights_file(architecture, Path(weights), names)
    return catalogue.load_base(architecture, source or catalogue.TORCHVISION, show_progress=show_progress)


def _random(
    architecture: str, seed: int, num_labels: int | None, names: list[str] | None, widths: Sequence[int]
) -> LoadedBase:
    if names is not None:
        check_labels(names)
    if names is not None and num_labels not in {None, len(names)}:
        raise InvalidArgument(f"num-labels is {num_labels}, and there are {len(names)} labels")
    if architecture == MLP:
        if not widths:
            raise InvalidArgument("mlp needs `widths`: numbers in a row and in each hidden layer, such as 64,256")
        counted = map(str, range(_NUM_MLP_LABELS if num_labels is None else num_labels))
        return load_random_mlp(widths, names or list(counted), seed)
    if architecture == GRU:
        return load_random_gru(names or list(map(str, range(num_labels or 0))), seed)
    if widths:
        raise InvalidArgument(f"widths go with mlp: the sizes of {architecture} are its own")
    base = catalogue.load_random(architecture, seed, len(names or []) or num_labels or 0)
    return replace(base, labels=tuple(names)) if names else base
