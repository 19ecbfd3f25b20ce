"""Features are computed once: a job that is broken off goes on where it was, and the next one finds them all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import PIL
import pytest
import torch
from torch import nn

from model_store.manifests import Manifest, ManifestStage
from model_store.modalities import Rows
from model_store.modalities.image.spec import ImageInputSpec, normalise
from training_service.arrays.array_cache import ArrayCache
from training_service.arrays.records import Positions
from training_service.features.feature_cache import FeatureCache
from training_service.features.frozen_features import FrozenPrefix
from training_service.modalities import MODALITIES
from training_service.modalities.views import PLAIN, View
from training_service.recipes.recipe import Augmentation

SPEC = ImageInputSpec(resize_size=4, crop_size=4)
CPU = torch.device("cpu")
NUM_ROWS = 2500  # three chunks
PIXELS = np.random.default_rng(0).integers(0, 256, (NUM_ROWS, 4, 4, 3), dtype=np.uint8)
ALL = np.arange(NUM_ROWS)
BASE = Manifest("tiny", {}, (ManifestStage("stem", "a" * 64),), SPEC.to_json(), None, {"kind": "none"}, 3)


class Stem(nn.Module):
    """Means over pixels, counting the rows that it ran, and broken off after so many."""

    def __init__(self, most: int = NUM_ROWS * 10) -> None:
        super().__init__()
        self.num_rows = 0
        self.most = most

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Return float32 [n, 3]."""
        self.num_rows += len(rows)
        if self.num_rows > self.most:
            raise InterruptedError
        return rows.mean((2, 3))


def run(
    folder: Path,
    stem: Stem,
    base: Manifest = BASE,
    view: View = PLAIN,
    spec: ImageInputSpec = SPEC,
    groups: Sequence[Positions] = (ALL,),
    fitted: Mapping[str, str] = MappingProxyType({}),
) -> tuple[np.ndarray, list[int]]:
    """Run the stem over all rows, and return what came of it and what was told meanwhile."""
    cache = FeatureCache(ArrayCache(folder / "cache", 10**7), "d" * 64, base, spec, CPU, fitted)
    told: list[int] = []
    prefix = FrozenPrefix({"stem": stem}, MODALITIES["image"], spec, CPU, cache)
    rows = Rows({"pixels": PIXELS}, NUM_ROWS)
    found = prefix.run(rows, groups, folder=folder / "scratch", on_rows=told.append, view=view)
    return found.arrays["x"], told


def test_features_are_those_of_every_row(tmp_path: Path) -> None:
    """In the rows' own places, and all of them are told."""
    found, told = run(tmp_path, Stem())
    expected = normalise(torch.from_numpy(PIXELS), SPEC).mean((2, 3)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert sum(told) == NUM_ROWS


def test_a_group_of_rows_that_ran_before_is_found(tmp_path: Path) -> None:
    """Who tries an input spec on some rows leaves them to the job that then runs all."""
    some, others = ALL[::3], np.setdiff1d(ALL, ALL[::3])
    run(tmp_path, Stem(), groups=[some])
    stem = Stem()
    found, told = run(tmp_path, stem, groups=[some, others])
    assert stem.num_rows == 1 + len(others)
    assert sum(told) == NUM_ROWS
    assert np.array_equal(found, run(tmp_path / "other", Stem())[0])


def test_a_second_job_computes_none(tmp_path: Path) -> None:
    """But the one row that says what shape they have."""
    first, _ = run(tmp_path, Stem())
    again = Stem()
    second, told = run(tmp_path, again)
    assert again.num_rows == 1
    assert sum(told) == NUM_ROWS
    np.testing.assert_array_equal(first, second)


def test_what_was_broken_off_goes_on(tmp_path: Path) -> None:
    """Whole chunks are not computed again."""
    with pytest.raises(InterruptedError):
        run(tmp_path, Stem(most=2100))
    rest = Stem()
    found, _ = run(tmp_path, rest)
    assert rest.num_rows == 1 + NUM_ROWS - 2048
    expected, _ = run(tmp_path / "undisturbed", Stem())
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("what", ["stage", "fitted stage", "input spec", "mirror images", "crops"])
def test_other_features_are_not_taken_for_these(tmp_path: Path, what: str) -> None:
    """Whatever they depend on is part of their name."""
    run(tmp_path, Stem())
    other, spec = BASE, SPEC
    if what == "stage":
        other = replace(BASE, stages=(ManifestStage("stem", "b" * 64),))
    if what == "input spec":
        spec = replace(SPEC, mean=(0.1, 0.2, 0.3))
    stem = Stem()
    view = {"mirror images": View(Augmentation.MIRROR), "crops": View(Augmentation.STRONG, 1, 0)}.get(what, PLAIN)
    run(tmp_path, stem, other, view, spec, fitted={"stem": "c" * 64} if what == "fitted stage" else {})
    assert stem.num_rows == 1 + NUM_ROWS


def test_features_of_rows_that_another_library_prepared_are_computed_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another release of a decoder may give other pixels."""
    run(tmp_path, Stem())
    monkeypatch.setattr(PIL, "__version__", "0.0.0")
    again = Stem()
    run(tmp_path, again)
    assert again.num_rows == NUM_ROWS + 1
