"""Naive Bayes: features are independent given the label."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from model_store.architectures.head import Head
from model_store.architectures.heads.stage import HeadStage
from model_store.errors import InvalidManifest

_NUMBERS_AT_ONCE = 2**22


class GaussianNaiveBayes(HeadStage):
    """Each feature is normal given the label: log p(label) + sum over features of log N(x; mean, variance).

    Where labels do not exclude one another each has two sets of numbers, of rows without it and of those that have it,
    and its output is the difference of the two.
    """

    def __init__(self, size: int, head: Head) -> None:
        super().__init__(size, head)
        self.num_groups = self.num_seen if self.is_exclusive else 2 * self.outputs
        self.numbers("mean", self.num_groups, size)
        self.numbers("variance", self.num_groups, size)
        self.numbers("log_prior", self.num_groups)

    def decisions(self, x: Tensor) -> Tensor:
        """Return joint log likelihoods [n, seen], or their differences [n, outputs]."""
        is_whole = torch.compiler.is_exporting()  # a program takes any number of rows, all at once
        step = self.num_groups if is_whole else max(1, _NUMBERS_AT_ONCE // max(1, x.numel()))
        starts = range(0, self.num_groups, step)
        likelihoods = torch.cat([self._likelihoods(x, slice(start, start + step)) for start in starts], dim=1)
        return likelihoods if self.is_exclusive else likelihoods[:, 1::2] - likelihoods[:, ::2]

    def _likelihoods(self, x: Tensor, groups: slice) -> Tensor:
        mean, variance = self.get_buffer("mean")[groups], self.get_buffer("variance")[groups]
        constants = self.get_buffer("log_prior")[groups] - 0.5 * (2 * math.pi * variance).log().sum(dim=1)
        return constants - 0.5 * ((x[:, None] - mean).square() / variance).sum(dim=2)

    def check_values(self) -> None:
        """Raise InvalidManifest for variances that are not positive."""
        super().check_values()
        if not bool((self.get_buffer("variance") > 0).all()):
            raise InvalidManifest("tensor 'variance' must be positive numbers")


class LinearNaiveBayes(HeadStage):
    """Joint log likelihoods that are weighted sums of features: counts of words, or their presence.

    With a `threshold` a feature counts as 1 above it, else as 0. Where labels do not exclude one another the weights
    are differences, of rows that have a label and of those without it.
    """

    def __init__(self, size: int, head: Head) -> None:
        super().__init__(size, head)
        self.numbers("weight", self.num_decisions, size)
        self.numbers("bias", self.num_decisions)
        self.has_threshold = head.kind == "bernoulli_nb"
        if self.has_threshold:
            self.numbers("threshold")

    def decisions(self, x: Tensor) -> Tensor:
        """Return the weighted sums [n, num_decisions]."""
        if self.has_threshold:
            x = (x > self.get_buffer("threshold")).to(x.dtype)
        return x @ self.get_buffer("weight").T + self.get_buffer("bias")
