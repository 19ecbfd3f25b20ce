"""The summary of a dataset of images for listings, beside its targets: sizes and colours."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median_low
from typing import Any, Self

import numpy as np
from PIL import Image

from training_service.datasets.examples import Example
from training_service.datasets.manifest import DatasetManifest
from training_service.datasets.modality import Remarked

_LEVELS = np.arange(256) / 255


@dataclass(frozen=True)
class Colours:
    """Mean of each channel and of its square, 0 to 1, over a number of images; each image counts equally."""

    num_images: int
    mean: tuple[float, ...]
    mean_square: tuple[float, ...]

    @classmethod
    def of_image(cls, image: Image.Image) -> Self:
        """Look at an RGB image."""
        counts = np.array(image.histogram()).reshape(3, 256)
        total = image.width * image.height
        mean, mean_square = counts @ _LEVELS / total, counts @ _LEVELS**2 / total
        return cls(1, tuple(mean.tolist()), tuple(mean_square.tolist()))

    @classmethod
    def of_summary(cls, num_images: int, summary: Mapping[str, Any]) -> Self:
        """Read the form that `to_json` writes, for this number of images."""
        mean, std = summary["pixel_mean"], summary["pixel_std"]
        return cls(num_images, tuple(mean), tuple(m * m + s * s for m, s in zip(mean, std, strict=True)))

    @classmethod
    def of_all(cls, parts: Iterable[Self]) -> Self:
        """Add up, in an order that does not show in the result."""
        parts = list(parts)
        num_images = sum(each.num_images for each in parts)
        mean, mean_square = (
            tuple(
                math.fsum(getattr(each, name)[channel] * each.num_images for each in parts) / num_images
                for channel in range(3)
            )
            for name in ("mean", "mean_square")
        )
        return cls(num_images, mean, mean_square)

    def to_json(self) -> dict[str, list[float]]:
        """Return plain JSON values."""
        variances = [square - mean * mean for mean, square in zip(self.mean, self.mean_square, strict=True)]
        return {"pixel_mean": list(self.mean), "pixel_std": [math.sqrt(max(each, 0)) for each in variances]}


@dataclass(frozen=True)
class Seen:
    """The facts of an image that its decoding gave."""

    colours: Colours
    is_dark: bool


def summarise(
    manifest: DatasetManifest,
    new: Sequence[Example],
    observed: Mapping[str, Seen],
    parent: tuple[int, Mapping[str, Any]] | None,
) -> Remarked:
    """Return the spread of sizes and the mean colours of all images, and say which of the new ones are dark."""
    seen = [observed[example.sha256].colours for example in new]
    if parent is not None:
        seen.append(Colours.of_summary(*parent))
    about = {
        "width": _spread([row.facts["width"] for row in manifest.rows]),
        "height": _spread([row.facts["height"] for row in manifest.rows]),
        **Colours.of_all(seen).to_json(),
    }
    dark = sorted(example.path for example in new if observed[example.sha256].is_dark)
    return Remarked(about, [_dark_remark(dark)] if dark else [])


def _dark_remark(paths: Sequence[str]) -> str:
    return (
        f"no value of {len(paths)} images is above a quarter of the range, such as {paths[0]!r}: were 8 to 14 bits "
        "written into 16?"
    )


def _spread(values: Sequence[int]) -> dict[str, int]:
    return {"min": min(values), "median": median_low(values), "max": max(values)}
