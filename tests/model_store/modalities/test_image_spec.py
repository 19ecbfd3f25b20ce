"""The input spec of images: JSON both ways, each field checked."""

from __future__ import annotations

import pytest

from model_store.errors import InvalidManifest
from model_store.modalities.image.spec import ImageInputSpec

SPEC = {
    "kind": "image",
    "resize_size": 256,
    "crop_size": 224,
    "interpolation": "bilinear",
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
    "fit": "pad",
}


def test_spec_survives_json() -> None:
    """A spec is what its JSON says."""
    spec = ImageInputSpec.from_json(SPEC)
    assert spec.to_json() == SPEC
    assert ImageInputSpec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("kind", "audio"),
        ("resize_size", 0),
        ("resize_size", 5000),
        ("crop_size", 224.0),
        ("crop_size", True),
        ("crop_size", "224"),
        ("interpolation", "cubic"),
        ("interpolation", ["bilinear"]),
        ("mean", [0.5, 0.5]),
        ("mean", "abc"),
        ("mean", [0.5, float("nan"), 0.5]),
        ("std", [0.5, 0.0, 0.5]),
        ("std", None),
        ("fit", "stretch"),
        ("fit", ["pad"]),
        ("gamma", 2.2),
    ],
)
def test_spec_is_validated(field: str, value: object) -> None:
    """A field that is wrong or unknown is refused by name."""
    with pytest.raises(InvalidManifest, match=rf"input_spec\.{field}"):
        ImageInputSpec.from_json({**SPEC, field: value})


def test_a_spec_without_a_fit_crops() -> None:
    """A manifest that was written before there were fits is read as what it meant, and written with it."""
    without = {name: value for name, value in SPEC.items() if name != "fit"}
    assert ImageInputSpec.from_json(without).to_json() == {**SPEC, "fit": "crop"}


@pytest.mark.parametrize("field", sorted(SPEC.keys() - {"fit"}))
def test_every_other_field_is_required(field: str) -> None:
    """A field that is missing is named."""
    with pytest.raises(InvalidManifest, match=rf"input_spec\.{field} is missing"):
        ImageInputSpec.from_json({name: value for name, value in SPEC.items() if name != field})
