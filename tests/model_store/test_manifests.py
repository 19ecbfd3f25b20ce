"""Manifests: canonical, validated, named by their digest."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from model_store.errors import InvalidManifest
from model_store.manifests import Manifest, ManifestStage
from model_store.tasks import Classification, MultiLabel, Regression, Task

GOOD = Manifest(
    architecture="resnet18",
    arguments={},
    stages=(ManifestStage("stem", "0" * 64), ManifestStage("head", "1" * 64)),
    input_spec={"kind": "image", "crop_size": 224},
    task=Classification(("tulip", "rose")),
    head={"kind": "linear", "outputs": 2, "activation": "softmax"},
    embedding_size=512,
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
    assert GOOD.digest == "ee268866effa111ad6369e7a57fd41e2799d9fe25d4f12243979b02bfe6cfdce"


def test_a_temperature_is_part_of_the_model() -> None:
    """It is read and kept; a task without one has the temperature 1."""
    assert b"temperature" not in GOOD.to_json()
    warm = replace(GOOD, task=Classification(("tulip", "rose"), 1.37))
    again = Manifest.from_json(warm.to_json())
    assert again.task == warm.task
    assert again.digest == warm.digest != GOOD.digest


@pytest.mark.parametrize("task", [MultiLabel(("red", "round"), 0.5), Regression(("price", "area")), None])
def test_every_task_survives_the_round(task: Task | None) -> None:
    """Labels or targets, in the order of the outputs; a backbone only has none."""
    again = Manifest.from_json(replace(GOOD, task=task).to_json())
    assert again.task == task
    assert again.names == (task.names if task is not None else ())


@pytest.mark.parametrize(
    ("key", "value", "place"),
    [
        ("format", 2, "format"),
        ("architecture", "resnet18", "architecture"),
        ("stages", [], "stages"),
        ("stages", [{"name": "Stem", "digest": "0" * 64}], r"stages\[0\].name"),
        ("stages", [{"name": "stem", "digest": "0" * 63}], r"stages\[0\].digest"),
        ("stages", [{"name": "stem", "digest": "0" * 64}] * 2, "stages must have no name twice"),
        ("task", {"kind": "classification", "labels": ["", "rose"]}, r"task\.labels"),
        ("task", {"kind": "classification", "labels": [1]}, r"task\.labels"),
        ("task", {"kind": "classification", "labels": []}, r"task\.labels"),
        ("task", {"kind": "multi_label", "labels": "rose"}, r"task\.labels"),
        ("task", {"kind": "regression", "labels": ["rose"]}, r"task\.labels is unknown"),
        ("task", {"kind": "regression", "targets": ["price"], "temperature": 2}, r"task\.temperature is unknown"),
        ("task", {"kind": "ranking", "labels": ["rose"]}, r"task\.kind"),
        ("task", {"kind": ["classification"]}, r"task\.kind"),
        ("task", "classification", r"task\.kind"),
        ("embedding_size", 0, "embedding_size"),
        ("embedding_size", True, "embedding_size"),
        ("input_spec", {}, "input_spec"),
        ("head", None, "head"),
        ("task", {"kind": "classification", "labels": ["a"], "temperature": 0}, r"task\.temperature"),
        ("task", {"kind": "classification", "labels": ["a"], "temperature": "2"}, r"task\.temperature"),
        ("task", {"kind": "classification", "labels": ["a"], "temperature": True}, r"task\.temperature"),
        ("task", {"kind": "multi_label", "labels": ["a"], "temperature": 101}, r"task\.temperature"),
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
