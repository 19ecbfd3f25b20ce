"""How targets are scaled to train on, and how the scale is folded into a linear head at the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


@dataclass(frozen=True)
class TargetScale:
    """Mean and standard deviation of each target, float64 [targets]; scaled targets are (target - mean) / deviation."""

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]

    @classmethod
    def of(cls, targets: Array) -> Self:
        """Return the scale of targets [n, targets]; one that is the same in all rows has a deviation of 1."""
        mean, deviation = targets.mean(axis=0, dtype=np.float64), targets.std(axis=0, dtype=np.float64)
        return cls(mean, np.where(deviation > 0, deviation, 1.0))

    def scaled(self, targets: Array) -> Array:
        """Return scaled targets [n, targets]."""
        return ((targets - self.mean) / self.deviation).astype(np.float32)

    def folded(self, weight: Array, bias: Array) -> tuple[Array, Array]:
        """Return weight [targets, d] and bias [targets] of the head whose outputs are in the targets' own units."""
        own_weight = weight * self.deviation[:, None]
        return own_weight.astype(np.float32), (bias * self.deviation + self.mean).astype(np.float32)
