"""Support vector machines with Platt scaling: scores are sigmoids of decision values, by scikit-learn's formulas."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor
from torch.nn import functional

from model_store.architectures.head import Head
from model_store.architectures.heads.distances import squared_distances
from model_store.architectures.heads.stage import HeadStage
from model_store.errors import InvalidManifest


class SupportVectorMachine(HeadStage):
    """Decision values [n, num_values], and where the task has labels, a sigmoid of each (Platt 1999).

    Two labels that exclude one another have one decision value, of the second label.
    """

    def __init__(self, size: int, head: Head) -> None:
        super().__init__(size, head)
        self.is_binary = self.is_exclusive and self.num_seen == 2
        self.num_values = 1 if self.is_binary else self.num_decisions
        self.has_sigmoids = head.activation != "identity"
        if self.has_sigmoids:
            self.numbers("slope", self.num_values)
            self.numbers("offset", self.num_values)

    @abstractmethod
    def values(self, x: Tensor) -> Tensor:
        """Return decision values, float64 [n, num_values]."""

    def decisions(self, x: Tensor) -> Tensor:
        """Return the log of each label's score, the logit of a label, or the values of targets."""
        values = self.values(x)
        if not self.has_sigmoids:
            return values
        logits = -(self.get_buffer("slope") * values + self.get_buffer("offset"))
        if self.is_binary:
            logits = torch.cat([-logits, logits], dim=1)
        return functional.logsigmoid(logits) if self.is_exclusive else logits


class LinearSvm(SupportVectorMachine):
    """Decision values x @ weight.T + bias."""

    def __init__(self, size: int, head: Head) -> None:
        super().__init__(size, head)
        self.numbers("weight", self.num_values, size)
        self.numbers("bias", self.num_values)

    def values(self, x: Tensor) -> Tensor:
        """Return the weighted sums."""
        return x @ self.get_buffer("weight").T + self.get_buffer("bias")


class RbfSvm(SupportVectorMachine):
    """Decision values of exp(-gamma * squared distance) to support vectors of standardised features.

    Of three and more labels that exclude one another, each pair has a machine (Knerr et al. 1990). A support
    vector has its label's place as its `owner`, and `dual` has its weights in the machines of that label with all
    others. A label's value is its number of wins, and a share below 1/3 for the sum of its values.
    """

    def __init__(self, size: int, head: Head) -> None:
        super().__init__(size, head)
        self.is_pairwise = self.is_exclusive and self.num_seen > 2
        num_labels = self.num_decisions
        self.num_machines = num_labels * (num_labels - 1) // 2 if self.is_pairwise else self.num_values
        num_vectors = self.argument("vectors")
        self.numbers("mean", size)
        self.numbers("scale", size)
        self.numbers("gamma")
        self.numbers("vectors", num_vectors, size)
        self.numbers("dual", num_labels - 1 if self.is_pairwise else self.num_values, num_vectors)
        self.numbers("intercept", self.num_machines)
        if self.is_pairwise:
            self.numbers("owner", num_vectors, dtype=torch.int64)

    def values(self, x: Tensor) -> Tensor:
        """Return a decision value of each label or target."""
        scaled = (x - self.get_buffer("mean")) / self.get_buffer("scale")
        kernel = (-self.get_buffer("gamma") * squared_distances(scaled, self.get_buffer("vectors"))).exp()
        if not self.is_pairwise:
            return kernel @ self.get_buffer("dual").T + self.get_buffer("intercept")
        return self._one_against_rest(self._pairs(kernel))

    def check_values(self) -> None:
        """Raise InvalidManifest for a scale that is not positive."""
        super().check_values()
        if not bool((self.get_buffer("scale") > 0).all()):
            raise InvalidManifest("tensor 'scale' must be positive numbers")

    def _pairs(self, kernel: Tensor) -> Tensor:
        """Return the value of each pair's machine [n, pairs], positive for the first of the two labels."""
        dual, owner = self.get_buffer("dual"), self.get_buffer("owner")
        by_label = torch.stack([(kernel * (owner == label)) @ dual.T for label in range(self.num_seen)])
        first, second = self._first_and_second(kernel.device)
        return (by_label[first, :, second - 1] + by_label[second, :, first]).T + self.get_buffer("intercept")

    def _one_against_rest(self, pairs: Tensor) -> Tensor:
        """Return votes and transformed sums of confidences, as scikit-learn's `_ovr_decision_function`."""
        first, second = self._first_and_second(pairs.device)
        zeros = pairs.new_zeros(pairs.shape[0], self.num_seen)
        is_second = (pairs < 0).to(pairs.dtype)
        votes = zeros.index_add(1, first, 1 - is_second).index_add(1, second, is_second)
        sums = zeros.index_add(1, first, pairs).index_add(1, second, -pairs)
        return votes + sums / (3 * (sums.abs() + 1))

    def _first_and_second(self, device: torch.device) -> Tensor:
        return torch.triu_indices(self.num_seen, self.num_seen, 1, device=device)
