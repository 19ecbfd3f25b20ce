"""Examples of a request that are not rows yet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Examples:
    """Examples for an input spec to prepare: encoded files, arrays, texts. `field_of` names one in an error."""

    examples: Sequence[object]
    field_of: Callable[[int], str]

    def __len__(self) -> int:
        return len(self.examples)
