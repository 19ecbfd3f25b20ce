"""Heads that compare an embedding with stored rows: all training rows, or the centre of each label."""

from __future__ import annotations

import torch
from torch import Tensor

from model_store.architectures.head import Head
from model_store.architectures.heads.distances import squared_distances
from model_store.architectures.heads.stage import HeadStage, parts_of
from model_store.errors import InvalidManifest

_LEAST_SHARE = 1e-9
_NUMBERS_AT_ONCE = 2**24


class NearestNeighbours(HeadStage):
    """The mean of the targets of the nearest stored rows, which are standardised.

    With labels that is the share of neighbours that have each; a share of 0 or 1 is one within 1e-9 of it, so that
    outputs are finite. By distance, a neighbour counts as the inverse of its distance, and an equal row alone.
    """

    def __init__(self, size: int, head: Head) -> None:
        super().__init__(size, head)
        num_rows = self.argument("rows")
        self.num_neighbours = self.argument("neighbours", most=num_rows)
        self.is_by_distance = bool(self.argument("by_distance", least=0, most=1))
        self.is_regression = head.activation == "identity"
        self.numbers("mean", size)
        self.numbers("scale", size)
        self.numbers("rows", num_rows, size)
        if self.is_exclusive:
            self.numbers("label", num_rows, dtype=torch.int64)
        else:
            self.numbers("target", num_rows, self.outputs)

    def decisions(self, x: Tensor) -> Tensor:
        """Return the log of each label's share, the logit of a label's share, or the mean of targets."""
        step = max(1, _NUMBERS_AT_ONCE // len(self.get_buffer("rows")))
        means = (
            torch.cat([self._means(part) for part in parts_of(x, step)])
            if x.shape[0]
            else x.new_empty(0, self.num_decisions)
        )
        if self.is_regression:
            return means
        shares = means.clamp(_LEAST_SHARE, 1 - _LEAST_SHARE)
        return shares.log() if self.is_exclusive else shares.logit()

    def _means(self, x: Tensor) -> Tensor:
        scaled = (x - self.get_buffer("mean")) / self.get_buffer("scale")
        nearest = squared_distances(scaled, self.get_buffer("rows")).topk(self.num_neighbours, dim=1, largest=False)
        distances = (scaled[:, None] - self.get_buffer("rows")[nearest.indices]).square().sum(dim=2).sqrt()
        weights = self._weights(distances)
        if not self.is_exclusive:
            return (weights[:, :, None] * self.get_buffer("target")[nearest.indices]).sum(dim=1)
        labels = self.get_buffer("label")[nearest.indices]
        return x.new_zeros(x.shape[0], self.num_seen).scatter_add_(1, labels, weights)

    def _weights(self, distances: Tensor) -> Tensor:
        """Return what each neighbour counts [n, neighbours], 1 in sum."""
        if not self.is_by_distance:
            return torch.full_like(distances, 1 / self.num_neighbours)
        is_equal = distances == 0
        weights = torch.where(is_equal.any(dim=1, keepdim=True), is_equal.to(distances.dtype), 1 / distances)
        return weights / weights.sum(dim=1, keepdim=True)

    def check_values(self) -> None:
        """Raise InvalidManifest for labels that were not seen."""
        super().check_values()
        if self.is_exclusive:
            label = self.get_buffer("label")
            if int(label.min()) < 0 or int(label.max()) >= self.num_seen:
                raise InvalidManifest(f"tensor 'label' must be numbers in 0..{self.num_seen - 1}")


class NearestCentroid(HeadStage):
    """Minus the squared distance to the centre of each label, in units of the deviation within labels.

    To it comes twice the log of the label's share (Hastie et al. 2009, "The Elements of Statistical Learning", eq.
    18.2). Where labels do not exclude one another each has two centres, of rows without it and of those that have it,
    and deviations of its own; its output is the difference of the two.
    """

    def __init__(self, size: int, head: Head) -> None:
        super().__init__(size, head)
        num_sets, num_groups = (1, self.num_seen) if self.is_exclusive else (self.outputs, 2)
        self.numbers("deviation", num_sets, size)
        self.numbers("centroid", num_sets, num_groups, size)
        self.numbers("log_prior", num_sets, num_groups)

    def decisions(self, x: Tensor) -> Tensor:
        """Return discriminant scores [n, seen], or their differences [n, outputs]."""
        names = ("deviation", "centroid", "log_prior")
        sets = zip(*(self.get_buffer(name) for name in names), strict=True)
        scores = [self._scores(x, *each) for each in sets]
        return scores[0] if self.is_exclusive else torch.stack([each[:, 1] - each[:, 0] for each in scores], dim=1)

    def _scores(self, x: Tensor, deviation: Tensor, centroid: Tensor, log_prior: Tensor) -> Tensor:
        distances = [((x - each) / deviation).square().sum(dim=1) for each in centroid]
        return 2 * log_prior - torch.stack(distances, dim=1)

    def check_values(self) -> None:
        """Raise InvalidManifest for deviations that are not positive."""
        super().check_values()
        if not bool((self.get_buffer("deviation") > 0).all()):
            raise InvalidManifest("tensor 'deviation' must be positive numbers")
