"""What a version's rows were like when it was trained, and how far those of a window are from that: drift.

A row comes to a few numbers: the Mahalanobis distance of its embedding from those that were trained on, and what its
answer says. Each number is binned by quantiles of held-out rows, which the version has not learned from either. The
population stability index (PSI; Siddiqi, Credit Risk Scorecards, 2006) compares the shares of the bins: sum of
(q - p) ln(q / p). No row is kept, and none can be made out of what is.

Rows of the same kind come to a PSI of about (1/n + 1/m) chi-squared with one degree of freedom less than bins, for a
window of n rows and m held-out rows (Yurdakul and Naranjo, Statistical properties of the population stability index,
2020). What exceeds a high quantile of that, and the usual least PSI, counts as drift.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model_store.errors import InvalidManifest
from model_store.tasks.task import THRESHOLD, Activation

Numbers = NDArray[np.float32]
Bins = NDArray[np.uint8]

MAX_ROWS = 500
"""Rows that a reference is made of at most: so many of those trained on, and so many held-out ones."""
MAX_NUMBERS = 8
_MAX_BINS, _ROWS_PER_BIN, _MIN_ROWS = 10, 10, 20
_MAX_DIRECTIONS = 8  # of 1,280 dimensions these are 40 kB: half a percent of the smallest backbone
_MAX_TARGETS = 4
_FALSE_ALARMS = 0.01  # the share of windows of the same kind in which any number seems to have drifted
_CONFIDENCE_DECIMALS = 3  # beyond them, serving in lower precision makes a difference
_LEAST_PSI = 0.1  # below it, by the usual rule, nothing has changed that matters
_PREFIX, _EDGES, _SHARES = "drift.", "drift.edges.", "drift.shares."


@dataclass(frozen=True)
class Drift:
    """How far one number of a window's rows is from held-out rows; it has drifted where `psi` exceeds `bound`."""

    name: str
    psi: float
    bound: float


@dataclass(frozen=True, eq=False)
class Binning:
    """Bins of one number: their inner edges [b - 1], ascending, and the share of held-out rows in each [b]."""

    edges: Numbers
    shares: Numbers

    @classmethod
    def of(cls, values: Numbers) -> Self:
        """Bin by quantiles of these values [n]; one that many of them have gets a bin of its own."""
        num_bins = int(np.clip(len(values) // _ROWS_PER_BIN, 3, _MAX_BINS))
        quantiles = np.quantile(values, np.arange(1, num_bins) / num_bins).astype(np.float32)
        edges, counts = np.unique(quantiles, return_counts=True)
        edges = np.union1d(edges, np.nextafter(edges[counts > 1], np.float32(np.inf)))
        return cls(edges, _shares(np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)))

    def bins(self, values: Numbers) -> Bins:
        """Return the bin of each value."""
        return np.searchsorted(self.edges, values, side="right").astype(np.uint8)


@dataclass(frozen=True, eq=False)
class Reference:
    """What rows of a version were like: a Gaussian of embeddings, and bins of each number by its name.

    The Gaussian is that of probabilistic principal components (Tipping and Bishop, 1999): `mean` [d], orthonormal
    `directions` [k, d] with the first k of `variances` [k + 1], and the last one of these in all other directions.
    `num_rows` are the held-out rows behind the bins.
    """

    mean: Numbers
    directions: Numbers
    variances: Numbers
    binnings: Mapping[str, Binning]
    num_rows: int

    @classmethod
    def of(cls, trained: Numbers, held_out: Numbers, scores: Numbers, activation: Activation) -> Self | None:
        """Describe embeddings [n, d] that were trained on, and held-out ones [m, d] with their scores [m, outputs].

        Returns None for fewer rows than could tell anything. Raises InvalidManifest where a number is not finite.
        """
        is_finite = bool(np.isfinite(trained).all() and np.isfinite(held_out).all() and np.isfinite(scores).all())
        _check(is_finite, "embeddings and scores", "must be finite numbers")
        if min(len(trained), len(held_out)) < _MIN_ROWS:
            return None
        gaussian = _gaussian(trained)
        numbers = {"distance": _distances(held_out, *gaussian), **_of_answers(scores, activation)}
        binnings = {name: Binning.of(values) for name, values in numbers.items()}
        return cls(*gaussian, binnings, len(held_out))

    def bins(self, embeddings: Numbers, scores: Numbers, activation: Activation) -> dict[str, Bins]:
        """Return the bin of each number of rows, by the number's name."""
        distances = _distances(embeddings, self.mean, self.directions, self.variances)
        numbers = {"distance": distances, **_of_answers(scores, activation)}
        return {name: binning.bins(numbers[name]) for name, binning in self.binnings.items()}

    def drift(self, bins: Mapping[str, Bins]) -> Iterator[Drift]:
        """Yield how far each number of a window's rows, given by their bins, is from the held-out rows."""
        level = 1 - _FALSE_ALARMS / len(self.binnings)
        for name, binning in self.binnings.items():
            counts = np.bincount(bins[name], minlength=len(binning.shares))
            found = _shares(counts)
            psi = float(((found - binning.shares) * np.log(found / binning.shares)).sum())
            noise = (1 / len(bins[name]) + 1 / self.num_rows) * _chi_squared(len(counts) - 1, level)
            yield Drift(name, psi, max(noise, _LEAST_PSI))

    def to_tensors(self) -> dict[str, Tensor]:
        """Return the form that is stored."""
        arrays = {"mean": self.mean, "directions": self.directions, "variances": self.variances}
        tensors = {_PREFIX + name: torch.from_numpy(array) for name, array in arrays.items()}
        tensors[_PREFIX + "num_rows"] = torch.tensor([self.num_rows])
        for name, binning in self.binnings.items():
            tensors[_EDGES + name] = torch.from_numpy(binning.edges)
            tensors[_SHARES + name] = torch.from_numpy(binning.shares)
        return tensors

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], size: int, num_outputs: int, activation: Activation) -> Self:
        """Read the form that `to_tensors` returns, for embeddings [n, size] and scores [n, num_outputs].

        Raises InvalidManifest naming the tensor that is wrong.
        """
        names = _of_answers(np.zeros((1, num_outputs), np.float32), activation)
        left = dict(tensors)
        num_rows = left.pop(_PREFIX + "num_rows", torch.zeros(0))
        _check(num_rows.dtype == torch.int64 and num_rows.shape == (1,) and int(num_rows) > 0, "num_rows", "is wrong")
        directions = _array(left, "directions", -1, size)
        variances = _array(left, "variances", len(directions) + 1)
        _check(bool((variances > 0).all()), "variances", "must be positive")
        binnings: dict[str, Binning] = {}
        for name in ("distance", *names):
            edges = _array(left, f"edges.{name}", -1)
            _check(0 < len(edges) < _MAX_BINS and bool((np.diff(edges) > 0).all()), f"edges.{name}", "must ascend")
            shares = _array(left, f"shares.{name}", len(edges) + 1)
            _check(bool((shares > 0).all()), f"shares.{name}", "must be positive")
            binnings[name] = Binning(edges, shares)
        mean = _array(left, "mean", size)
        _check(not left, min(left, default=""), "is unknown")
        return cls(mean, directions, variances, binnings, int(num_rows))


def max_bytes(embedding_size: int) -> int:
    """Return how many bytes the tensors of a reference have at most, without their entries in a header."""
    return 4 * (embedding_size * (_MAX_DIRECTIONS + 1) + 2 * _MAX_BINS * MAX_NUMBERS + 64)


def is_of_reference(name: str) -> bool:
    """Say whether a stored tensor is one of a reference's."""
    return name.startswith(_PREFIX)


def _gaussian(rows: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """Return mean [d], directions [k, d] and variances [k + 1] of rows [n, d]."""
    mean = rows.mean(axis=0, dtype=np.float64)
    centred = rows - mean
    count, size = centred.shape
    _, spreads, directions = np.linalg.svd(centred, full_matrices=False)
    num_directions = min(_MAX_DIRECTIONS, count // _ROWS_PER_BIN, size - 1)
    variances = spreads**2 / (count - 1)
    rest = variances[num_directions:].sum() / max(1, size - num_directions)
    kept = np.maximum([*variances[:num_directions], rest], max(1e-12, 1e-6 * float(variances[:1].sum())))
    return mean.astype(np.float32), directions[:num_directions].astype(np.float32), kept.astype(np.float32)


def _distances(rows: Numbers, mean: Numbers, directions: Numbers, variances: Numbers) -> Numbers:
    """Return the Mahalanobis distance of each row [n, d]."""
    centred = rows - mean
    along = centred @ directions.T
    across = np.maximum((centred**2).sum(axis=1) - (along**2).sum(axis=1), 0)
    distances: Numbers = np.sqrt((along**2 / variances[:-1]).sum(axis=1) + across / variances[-1])
    return distances


def _of_answers(scores: Numbers, activation: Activation) -> dict[str, Numbers]:
    """Return what the scores of rows [n, outputs] say: the best label and its score, labels and how sure, or values."""
    if activation == "softmax":
        return {"label": scores.argmax(axis=1).astype(np.float32), "confidence": _rounded(scores.max(axis=1))}
    if activation == "sigmoid":
        has_label = scores >= THRESHOLD
        return {
            "label_count": has_label.sum(axis=1).astype(np.float32),
            "confidence": _rounded(np.where(has_label, scores, 1 - scores).mean(axis=1)),
        }
    return {f"value_{number}": scores[:, number] for number in range(min(_MAX_TARGETS, scores.shape[1]))}


def _rounded(confidence: Numbers) -> Numbers:
    rounded: Numbers = confidence.round(_CONFIDENCE_DECIMALS)
    return rounded


def _shares(counts: NDArray[np.int64]) -> Numbers:
    """Return the share of each bin, none of them 0: each has half a row more."""
    shares: Numbers = ((counts + 0.5) / (counts.sum() + 0.5 * len(counts))).astype(np.float32)
    return shares


def _chi_squared(freedom: int, level: float) -> float:
    """Return the quantile of the distribution (Wilson and Hilferty, 1931)."""
    part = 2 / (9 * freedom)
    return float(freedom * (1 - part + NormalDist().inv_cdf(level) * part**0.5) ** 3)


def _array(tensors: dict[str, Tensor], name: str, *shape: int) -> Numbers:
    """Take a tensor of float32 with finite values; -1 stands for any length."""
    found = tensors.pop(_PREFIX + name, torch.zeros(0))
    fits = found.ndim == len(shape) and all(want in {-1, have} for want, have in zip(shape, found.shape, strict=True))
    _check(found.dtype == torch.float32 and fits and bool(found.isfinite().all()), name, "has another form")
    array: Numbers = found.numpy()
    return array


def _check(holds: bool, name: str, rule: str) -> None:  # noqa: FBT001  reads as an assertion
    if not holds:
        raise InvalidManifest(f"the reference for drift: {name} {rule}")
