"""The manifest: canonical JSON that says what a model is; its SHA-256 names the model's content."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from model_store.errors import InvalidManifest
from model_store.normal_form import unshowable
from model_store.texts import MAX_LABEL

FORMAT = 1
MAX_BYTES = 4 * 1024 * 1024
MIN_TEMPERATURE, MAX_TEMPERATURE = 0.01, 100
DIGEST = re.compile(r"[0-9a-f]{64}")
_STAGE_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")


@dataclass(frozen=True)
class ManifestStage:
    """One stage: its name in the architecture and the digest of its blob."""

    name: str
    digest: str


@dataclass(frozen=True)
class Manifest:
    """What a model is: an architecture, its chain of stages, and how to read inputs and scores."""

    architecture: str
    arguments: Mapping[str, Any]
    stages: tuple[ManifestStage, ...]
    input_spec: Mapping[str, Any]
    labels: tuple[str, ...]
    head: Mapping[str, Any]

    def to_json(self) -> bytes:
        """Return the canonical form: sorted keys, no spaces, UTF-8."""
        return canonical_json(
            {
                "format": FORMAT,
                "architecture": {"name": self.architecture, "arguments": dict(self.arguments)},
                "stages": [{"name": stage.name, "digest": stage.digest} for stage in self.stages],
                "input_spec": dict(self.input_spec),
                "labels": list(self.labels),
                "head": dict(self.head),
            }
        )

    @property
    def temperature(self) -> float:
        """What logits are divided by before they become scores."""
        return float(self.head.get("temperature", 1.0))

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical form."""
        return hashlib.sha256(self.to_json()).hexdigest()

    @classmethod
    def from_json(cls, data: bytes | bytearray) -> Manifest:
        """Read a manifest; raise InvalidManifest naming the place that is wrong."""
        if len(data) > MAX_BYTES:
            raise InvalidManifest(f"the manifest has {len(data)} bytes; at most {MAX_BYTES} are allowed")
        try:
            values = json.loads(data)
            canonical_json(values)  # what Python takes for JSON, and no other: NaN, halves of characters
        except (ValueError, RecursionError) as error:
            raise InvalidManifest(f"the manifest is not JSON: {error}") from error
        return _validated(values)


def canonical_json(values: Mapping[str, Any]) -> bytes:
    """Return the one byte string for these values: sorted keys, no spaces, UTF-8, no NaN."""
    return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _validated(values: Any) -> Manifest:  # noqa: ANN401  whatever the JSON held
    _check(isinstance(values, dict), "the manifest", "must be an object")
    keys = {"format", "architecture", "stages", "input_spec", "labels", "head"}
    _check(set(values) == keys, "the manifest", f"must have exactly the keys {sorted(keys)}")
    _check(values["format"] == FORMAT, "format", f"must be {FORMAT}; a newer maas may be needed to read it")
    architecture = values["architecture"]
    _check(
        isinstance(architecture, dict)
        and set(architecture) == {"name", "arguments"}
        and isinstance(architecture["name"], str)
        and isinstance(architecture["arguments"], dict),
        "architecture",
        "must be an object with a name and arguments",
    )
    for key in ("input_spec", "head"):
        _check(isinstance(values[key], dict) and "kind" in values[key], key, "must be an object with a kind")
    temperature = values["head"].get("temperature", 1.0)
    is_positive = type(temperature) in {int, float} and MIN_TEMPERATURE <= temperature <= MAX_TEMPERATURE
    _check(is_positive, "head.temperature", f"must be {MIN_TEMPERATURE} to {MAX_TEMPERATURE}")
    return Manifest(
        architecture=architecture["name"],
        arguments=architecture["arguments"],
        stages=_stages(values["stages"]),
        input_spec=values["input_spec"],
        labels=_labels(values["labels"]),
        head=values["head"],
    )


def _stages(values: Any) -> tuple[ManifestStage, ...]:  # noqa: ANN401  whatever the JSON held
    _check(isinstance(values, list) and 0 < len(values) <= 1000, "stages", "must be a list of 1 to 1000 stages")
    for position, each in enumerate(values):
        place = f"stages[{position}]"
        _check(isinstance(each, dict) and set(each) == {"name", "digest"}, place, "must have a name and a digest")
        _check(_matches(_STAGE_NAME, each["name"]), f"{place}.name", "must be lower-case letters, digits and '_'")
        _check(_matches(DIGEST, each["digest"]), f"{place}.digest", "must be 64 lower-case hexadecimal digits")
    names = [each["name"] for each in values]
    _check(len(set(names)) == len(names), "stages", "must have no name twice")
    return tuple(ManifestStage(each["name"], each["digest"]) for each in values)


def _labels(values: Any) -> tuple[str, ...]:  # noqa: ANN401  whatever the JSON held
    _check(
        isinstance(values, list) and all(isinstance(each, str) and 0 < len(each) <= MAX_LABEL for each in values),
        "labels",
        f"must be a list of texts of 1 to {MAX_LABEL} characters",
    )
    for position, label in enumerate(values):
        character = unshowable(label)
        _check(not character, f"labels[{position}]", f"must be characters that can be shown, which {character} is not")
    # ImageNet's own list names two kinds of crane and of maillot alike, so repeats are legal in an import.
    return tuple(values)


def _matches(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _check(holds: bool, place: str, rule: str) -> None:  # noqa: FBT001  reads as an assertion
    if not holds:
        raise InvalidManifest(f"{place} {rule}")
