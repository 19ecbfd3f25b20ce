"""What all fitted heads have in common: they compute in float64, and answer with logits that a task reads as others."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

from model_store.architectures.head import Head
from model_store.errors import InvalidManifest
from model_store.modalities.batch import X

NEVER = -1e4
"""The logit of a label that no training row has: its score is 0."""
_MOST = 2**24


def parts_of(x: Tensor, num_rows: int) -> tuple[Tensor, ...]:
    """Return rows in parts of so many, which bounds memory; an exported program takes all of its rows at once."""
    return (x,) if torch.compiler.is_exporting() else torch.split(x, num_rows)


class HeadStage(nn.Module):
    """A head whose tensors are buffers in the dtypes that they were stored in, float64 mostly.

    A subclass computes `decisions`. Where labels exclude one another these are scores of the labels that training rows
    had, up to a constant of each row: the outputs are their log-softmax. Elsewhere they are the outputs.
    """

    keeps_dtype = True

    def __init__(self, size: int, head: Head) -> None:
        super().__init__()
        self.reads: tuple[str, ...] = (X,)
        self.size = size
        self.outputs = head.outputs
        self.is_exclusive = head.activation == "softmax"
        self._arguments, self._unread = head.arguments, set(head.arguments)
        if self.is_exclusive:
            self.num_seen = self.argument("seen", most=head.outputs)
            self.register_buffer("seen", torch.empty(self.num_seen, dtype=torch.int64))

    @property
    def num_decisions(self) -> int:
        """The width of what `decisions` returns."""
        return self.num_seen if self.is_exclusive else self.outputs

    def forward(self, x: Tensor) -> Tensor:
        """Return float32 [n, outputs] for embeddings [n, size] of any floating dtype."""
        decisions = self.decisions(x.double())
        if not self.is_exclusive:
            return decisions.float()
        outputs = decisions.new_full((x.shape[0], self.outputs), NEVER, dtype=torch.float32)
        return outputs.index_copy_(1, self.get_buffer("seen"), decisions.log_softmax(dim=1).float())

    @abstractmethod
    def decisions(self, x: Tensor) -> Tensor:
        """Return float64 [n, num_decisions] for embeddings, float64 [n, size]."""

    def argument(self, name: str, *, least: int = 1, most: int = _MOST) -> int:
        """Return an argument of the head, a whole number; raise InvalidManifest for any other value."""
        self._unread.discard(name)
        value = self._arguments.get(name)
        if type(value) is not int or not least <= value <= most:
            raise InvalidManifest(f"head.arguments.{name} must be a whole number in {least}..{most}, not {value!r}")
        return value

    def check_arguments(self) -> None:
        """Raise InvalidManifest where the manifest has an argument that the stage does not know."""
        if self._unread:
            raise InvalidManifest(f"head.arguments.{min(self._unread)[:80]} is unknown")

    def numbers(self, name: str, *shape: int, dtype: torch.dtype = torch.float64) -> None:
        """Register a tensor of the head."""
        self.register_buffer(name, torch.empty(shape, dtype=dtype))

    def check_values(self) -> None:
        """Raise InvalidManifest for labels that do not exist, or twice."""
        if self.is_exclusive:
            seen = self.get_buffer("seen").tolist()
            if len(set(seen)) < len(seen) or not all(0 <= each < self.outputs for each in seen):
                raise InvalidManifest(f"tensor 'seen' must be different numbers in 0..{self.outputs - 1}")
