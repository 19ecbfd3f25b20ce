"""Images of a request that are not rows yet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from model_store.modalities.inputs import Pixels


@dataclass(frozen=True)
class Images:
    """Images to be decoded and resized: encoded ones, or pixels [h, w, 3]. `field_of` names one in an error."""

    images: Sequence[bytes | Pixels]
    field_of: Callable[[int], str]

    def __len__(self) -> int:
        return len(self.images)
