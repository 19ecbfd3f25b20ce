"""Boosted trees and forests: stages that walk all trees for all rows of a batch at once, one level at a time."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from model_store.architectures.head import Head
from model_store.architectures.heads.stage import HeadStage, parts_of
from model_store.errors import InvalidManifest

MAX_CODES = 2**16
_MAX_DEPTH = 4096
_PLACES_AT_ONCE = 2**20
# Walks that are at a leaf are dropped after the fifth level, and after every third one behind it. Of 100 trees of 31
# leaves on 20 features 0.50 of the walks have ended by the fifth level, 0.85 by the eighth and 0.97 by the eleventh;
# the walks of 8,192 rows take 0.54 of the time that they take whole.
_FIRST_DROP, _DROP_EVERY = 5, 3
_MOST_NUMBERS = 2**30  # so that int32 has a place for each
_LEAST_SHARE = 1e-6
_LARGEST = float(torch.finfo(torch.float32).max)


class Trees(HeadStage):
    """Trees that each row walks from every `root` to a leaf.

    A node goes on to `left`, or to the node behind that where the feature is above `threshold`; a leaf goes on to
    itself. Rows and thresholds are float32: a threshold that is rounded down to float32 separates numbers of float32 as
    the threshold itself does. NaN goes left where `missing_left` says so. With `splits` a node may have a set of
    categories in place of a threshold: `split` is its row of `is_left` [splits, codes], or -1; a number that is not in
    `is_known` [d, codes] is missing then.
    """

    def __init__(self, size: int, head: Head) -> None:
        super().__init__(size, head)
        self.num_values = 1  # of each leaf
        self.num_trees, self.num_nodes = self.argument("trees"), self.argument("nodes")
        self.depth = self.argument("depth", least=0, most=_MAX_DEPTH)
        self.num_splits = self.argument("splits", least=0)
        self.num_codes = self.argument("codes", least=0, most=MAX_CODES)
        self.numbers("threshold", self.num_nodes, dtype=torch.float32)
        self.numbers("missing_left", self.num_nodes, dtype=torch.bool)
        for name, length in (("feature", self.num_nodes), ("left", self.num_nodes), ("root", self.num_trees)):
            self.numbers(name, length, dtype=torch.int32)
        if self.num_splits:
            self.numbers("split", self.num_nodes, dtype=torch.int32)
            self.numbers("is_left", self.num_splits, self.num_codes, dtype=torch.bool)
            self.numbers("is_known", size, self.num_codes, dtype=torch.bool)
            self.numbers("is_categorical", size, dtype=torch.bool)

    @property
    def num_sums(self) -> int:
        """The width of what trees say of a row: of two labels it is the second one's alone."""
        return 1 if self.is_exclusive and self.num_seen == 2 else self.num_decisions

    def sums(self, x: Tensor) -> Tensor:
        """Return what `of_leaves` makes of all rows [n, size], float64 [n, num_sums], some rows at a time."""
        step = max(1, min(_PLACES_AT_ONCE // (self.num_trees * self.num_values), _MOST_NUMBERS // self.size))
        # A split of missing values alone has the largest number as its threshold.
        parts = parts_of(x.float().clamp(-_LARGEST, _LARGEST), step)
        return torch.cat([self.of_leaves(self._leaves(part)) for part in parts])

    @abstractmethod
    def of_leaves(self, leaves: Tensor) -> Tensor:
        """Return float64 [n, num_sums] for the leaf of each row in each tree, int32 [trees, n]."""

    def _leaves(self, x: Tensor) -> Tensor:
        """Return the leaf of each tree for each row, int32 [trees, n].

        Numbers and nodes are looked up in one dimension, by int32: in two, by int64, a walk takes 3.5 times as long.
        """
        codes = x.new_empty(0, dtype=torch.int64)
        if self.num_splits:
            x, codes = self._known(x)
        is_whole = torch.compiler.is_exporting()  # a program has no branches by its numbers
        has_missing = is_whole or bool(x.isnan().any())
        root, numbers, codes = self.get_buffer("root"), x.flatten(), codes.flatten()
        row = torch.arange(0, x.numel(), self.size, dtype=torch.int32, device=x.device).repeat(len(root))
        leaves = node = root.unsqueeze(1).repeat(1, x.shape[0]).flatten()
        walks: Tensor | None = None  # those that go on, by their places in `leaves`; None for all
        for level in range(1, self.depth + 1):
            node = self._next(node, row, numbers, codes, has_missing=has_missing)
            if not is_whole and level >= _FIRST_DROP and (level - _FIRST_DROP) % _DROP_EVERY == 0:
                leaves = node if walks is None else leaves.index_copy_(0, walks, node)
                going = (self._of("left", node) != node).nonzero().flatten()
                walks = going if walks is None else walks.index_select(0, going)
                node, row = node.index_select(0, going), row.index_select(0, going)
        leaves = node if walks is None else leaves.index_copy_(0, walks, node)
        return leaves.view(len(root), x.shape[0])

    def _next(self, node: Tensor, row: Tensor, numbers: Tensor, codes: Tensor, *, has_missing: bool) -> Tensor:
        """Return the node behind each node, int32 [walks]; `row` is where the numbers of its row begin."""
        place = self._of("feature", node) + row
        number = numbers.index_select(0, place)
        goes_right = number > self._of("threshold", node)
        if self.num_splits:
            split = self._of("split", node)
            cell = split.clamp(min=0).long() * self.num_codes + codes.index_select(0, place)
            is_left = self.get_buffer("is_left").flatten().index_select(0, cell)
            goes_right = _either(split < 0, goes_right, ~is_left)
        if has_missing:
            goes_right = _either(number.isnan(), ~self._of("missing_left", node), goes_right)
        return self._of("left", node) + goes_right

    def _of(self, name: str, node: Tensor) -> Tensor:
        return self.get_buffer(name).index_select(0, node)

    def _known(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rows, with NaN for categories that are not known, and their codes, int64 [n, d]."""
        is_code = (x >= 0) & (x < self.num_codes) & (x == x.floor())
        codes = torch.where(is_code, x, 0).long()
        is_known = is_code & self.get_buffer("is_known").T.gather(0, codes)
        return torch.where(self.get_buffer("is_categorical") & ~is_known, torch.nan, x), codes

    def check_values(self) -> None:
        """Raise InvalidManifest for places that do not exist, and for paths that do not go down."""
        super().check_values()
        left, feature = self.get_buffer("left"), self.get_buffer("feature")
        places = torch.arange(len(left), device=left.device)
        is_leaf = left == places
        _check("left", bool((is_leaf | ((left > places) & (left < len(left) - 1))).all()))
        # A leaf goes on to itself: never to the node behind it.
        is_final = (self.get_buffer("threshold") == _LARGEST) & self.get_buffer("missing_left")
        _check("threshold", bool((is_final | ~is_leaf).all()))
        _check("feature", _within(feature, self.size))
        _check("root", _within(self.get_buffer("root"), len(left)))
        if self.num_splits:
            split = self.get_buffer("split")
            _check("split", _within(split + 1, self.num_splits + 1) and bool((split[is_leaf] < 0).all()))


class BoostedTrees(Trees):
    """Sums of leaves, one of each tree, as scikit-learn's histogram-based gradient boosting has them.

    Each tree counts for its `output`, and each sum begins at its `baseline`.
    """

    def __init__(self, size: int, head: Head) -> None:
        super().__init__(size, head)
        self.numbers("baseline", self.num_sums)
        self.numbers("value", self.num_nodes)
        self.numbers("output", self.num_trees, dtype=torch.int64)

    def decisions(self, x: Tensor) -> Tensor:
        """Return the sums [n, num_decisions]; of two labels that of the second one, beside 0."""
        sums = self.sums(x)
        return torch.cat([torch.zeros_like(sums), sums], dim=1) if self.num_sums < self.num_decisions else sums

    def of_leaves(self, leaves: Tensor) -> Tensor:
        """Return the sums of the values of the leaves."""
        values = self._of("value", leaves.flatten()).view(leaves.shape)
        sums = self.get_buffer("baseline").unsqueeze(1).repeat(1, leaves.shape[1])
        return sums.index_add_(0, self.get_buffer("output"), values).T

    def check_values(self) -> None:
        """Raise InvalidManifest for outputs that do not exist, besides all that trees must be."""
        super().check_values()
        _check("output", _within(self.get_buffer("output"), self.num_sums))


class Forest(Trees):
    """Means of leaves, over all trees, as scikit-learn's forests have them: `value` is float32 [nodes, num_sums].

    The values are shares of labels, of which the outputs are the logarithms or the logits, or numbers of a regression.
    A share below 1e-6 counts as that.
    """

    def __init__(self, size: int, head: Head) -> None:
        super().__init__(size, head)
        self.has_shares = head.activation != "identity"
        self.num_values = self.num_sums
        self.numbers("value", self.num_nodes, self.num_sums, dtype=torch.float32)

    def decisions(self, x: Tensor) -> Tensor:
        """Return the means [n, outputs], or the logarithms or logits of shares [n, num_decisions]."""
        means = self.sums(x)
        if not self.has_shares:
            return means
        if self.num_sums < self.num_decisions:
            means = torch.cat([1 - means, means], dim=1)
        shares = means.clamp(_LEAST_SHARE, 1 - _LEAST_SHARE)
        return shares.log() if self.is_exclusive else shares.logit()

    def of_leaves(self, leaves: Tensor) -> Tensor:
        """Return the means of the values of the leaves."""
        values = self._of("value", leaves.flatten()).view(*leaves.shape, self.num_sums)
        return values.mean(dim=0, dtype=torch.float64)


def _either(condition: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    """Return `torch.where` of truth values, which onnxruntime has not."""
    return (condition & yes) | (~condition & no)


def _within(places: Tensor, length: int) -> bool:
    return bool(((places >= 0) & (places < length)).all())


def _check(name: str, holds: bool) -> None:  # noqa: FBT001  reads as an assertion
    if not holds:
        raise InvalidManifest(f"tensor {name!r} must be places of nodes, features or outputs that exist")
