"""What a listing shows of a dataset: counts, sizes, colours, near duplicates, and the files that were left out."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median_low
from typing import Any, Self

import numpy as np
from PIL import Image

from training_service.datasets.manifest import DatasetManifest
from training_service.datasets.splits import Split
from training_service.modalities.image.layouts import LayoutKind
from training_service.modalities.image.near_duplicates import Groups

_MAX_REJECTED = 1000
_MAX_GROUPS = 100
_MAX_GROUP_PATHS = 20
_LEVELS = np.arange(256) / 255


@dataclass(frozen=True)
class Colours:
    """Mean of each channel and of its square, 0 to 1, over so many images; each image counts alike."""

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
        """Read what `to_json` wrote of so many images."""
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


def summary(
    manifest: DatasetManifest,
    groups: Groups,
    colours: Colours,
    layout: LayoutKind,
    rejected: Sequence[Mapping[str, str]],
    remarks: Sequence[str],
) -> dict[str, Any]:
    """Return what a listing shows, as plain JSON values; `groups` numbers the rows, near duplicates alike."""
    counts = Counter((row.label, row.split) for row in manifest.rows)
    labels = [
        {"label": name, **{f"num_{split}": counts[label, split] for split in Split}}
        for label, name in enumerate(manifest.labels)
    ]
    return {
        "labels": labels,
        "split": manifest.split.to_json(),
        "layout": str(layout),
        "rejected_files": [dict(each) for each in rejected[:_MAX_REJECTED]],
        "num_rejected_files": len(rejected),
        "remarks": list(remarks),
        **_near_duplicates(manifest, groups),
        "width": _spread([row.width for row in manifest.rows]),
        "height": _spread([row.height for row in manifest.rows]),
        **colours.to_json(),
    }


def _near_duplicates(manifest: DatasetManifest, groups: Groups) -> dict[str, Any]:
    """Return how many rows have near duplicates, how many have some in another split, and the largest groups."""
    found = sorted(_groups(groups), key=lambda rows: (-len(rows), rows))
    split = [rows for rows in found if len({manifest.rows[row].split for row in rows}) > 1]
    return {
        "num_near_duplicates": sum(map(len, found)),
        "num_split_near_duplicates": sum(map(len, split)),
        "near_duplicates": [
            {"num_images": len(rows), "paths": [manifest.rows[row].path for row in rows[:_MAX_GROUP_PATHS]]}
            for rows in found[:_MAX_GROUPS]
        ],
    }


def _groups(groups: Groups) -> Iterator[list[int]]:
    members: dict[int, list[int]] = defaultdict(list)
    for row, group in enumerate(groups.tolist()):
        members[group].append(row)
    yield from (rows for rows in members.values() if len(rows) > 1)


def _spread(values: Sequence[int]) -> dict[str, int]:
    return {"min": min(values), "median": median_low(values), "max": max(values)}
