"""Manifests: canonical, validated, named by their digest."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from model_store.errors import InvalidManifest
from model_store.manifests import Manifest, ManifestStage

GOOD = Manifest(
    architecture="resnet18",
    arguments={},
    stages=(ManifestStage("stem", "0" * 64), ManifestStage("head", "1" * 64)),
    input_spec={"kind": "image", "crop_size": 224},
    labels=("tulip", "rose"),
    head={"kind": "linear", "num_labels": 2},
)


def test_a_manifest_survives_the_round() -> None:
    """Reading what was written gives the same manifest and the same digest."""
    again = Manifest.from_json(GOOD.to_json())
    assert again == GOOD
    assert again.digest == GOOD.digest


def test_the_digest_does_not_depend_on_spacing_or_order() -> None:
    """Pretty-printed and reordered JSON names the same model."""
    values = json.loads(GOOD.to_json())
    shuffled = json.dumps(dict(reversed(values.items())), indent=4).encode()
    assert Manifest.from_json(shuffled).digest == GOOD.digest


def test_this_digest_never_changes() -> None:
    """A stored manifest must have the same name in every release to come."""
    assert GOOD.digest == "02be335660e24236fab163f03ad5041be6abbe045b7935ef20ef59c98eacfc7c"


def test_a_temperature_is_part_of_the_model() -> None:
    """It is read and kept; a manifest without one has the temperature 1, and its old digest."""
    assert GOOD.temperature == 1.0
    warm = replace(GOOD, head={**GOOD.head, "temperature": 1.37})
    again = Manifest.from_json(warm.to_json())
    assert again.temperature == 1.37
    assert again.digest == warm.digest != GOOD.digest


@pytest.mark.parametrize(
    ("key", "value", "place"),
    [
        ("format", 2, "format"),
        ("architecture", "resnet18", "architecture"),
        ("stages", [], "stages"),
        ("stages", [{"name": "Stem", "digest": "0" * 64}], r"stages\[0\].name"),
        ("stages", [{"name": "stem", "digest": "0" * 63}], r"stages\[0\].digest"),
        ("stages", [{"name": "stem", "digest": "0" * 64}] * 2, "stages must have no name twice"),
        ("labels", ["", "rose"], "labels"),
        ("labels", [1], "labels"),
        ("input_spec", {}, "input_spec"),
        ("head", None, "head"),
        ("head", {"kind": "linear", "num_labels": 2, "temperature": 0}, r"head\.temperature"),
        ("head", {"kind": "linear", "num_labels": 2, "temperature": "2"}, r"head\.temperature"),
        ("head", {"kind": "linear", "num_labels": 2, "temperature": True}, r"head\.temperature"),
        ("head", {"kind": "linear", "num_labels": 2, "temperature": 101}, r"head\.temperature"),
        ("extra", 1, "keys"),
    ],
)
def test_what_is_wrong_is_named(key: str, value: Any, place: str) -> None:
    """Each wrong field is named in the error."""
    values = {**json.loads(GOOD.to_json()), key: value}
    with pytest.raises(InvalidManifest, match=place):
        Manifest.from_json(json.dumps(values).encode())


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\xff", b"null"])
def test_what_is_no_manifest_at_all_is_refused(data: bytes) -> None:
    """Bytes that are not a JSON object raise InvalidManifest and nothing else."""
    with pytest.raises(InvalidManifest):
        Manifest.from_json(data)
