"""The manifest: canonical JSON that describes a model; its SHA-256 names the content of the model."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from model_store.errors import InvalidManifest
from model_store.tasks import Task, read_task

FORMAT = 1
MAX_BYTES = 4 * 1024 * 1024
MAX_EMBEDDING_SIZE = 1_000_000
DIGEST = re.compile(r"[0-9a-f]{64}")
MAX_FILES = 16
_FILES = "files"
_STAGE_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")


@dataclass(frozen=True)
class ManifestStage:
    """One stage: its name in the architecture and the digest of its blob."""

    name: str
    digest: str


@dataclass(frozen=True)
class Manifest:
    """The description of a model: architecture, chain of stages, input spec, task and head.

    `embedding_size` is d of its embeddings [n, d]. A backbone alone has no task.
    """

    architecture: str
    arguments: Mapping[str, Any]
    stages: tuple[ManifestStage, ...]
    input_spec: Mapping[str, Any]
    task: Task | None
    head: Mapping[str, Any]
    embedding_size: int

    def to_json(self) -> bytes:
        """Return the canonical form: sorted keys, no spaces, UTF-8."""
        return canonical_json(
            {
                "format": FORMAT,
                "architecture": {"name": self.architecture, "arguments": dict(self.arguments)},
                "stages": [{"name": stage.name, "digest": stage.digest} for stage in self.stages],
                "input_spec": dict(self.input_spec),
                "task": None if self.task is None else self.task.to_json(),
                "head": dict(self.head),
                "embedding_size": self.embedding_size,
            }
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The label or target of each output, in order; none for a backbone alone."""
        return () if self.task is None else self.task.names

    @property
    def files(self) -> Mapping[str, str]:
        """The digests of the blobs that the input spec names besides stages, such as a tokenizer's, by name."""
        found: Mapping[str, str] = self.input_spec.get(_FILES, {})
        return found

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
            canonical_json(values)  # Python's json accepts these and no other parser does: NaN, halves of characters
        except (ValueError, RecursionError) as error:
            raise InvalidManifest(f"the manifest is not JSON: {error}") from error
        return _validated(values)


def canonical_json(values: Mapping[str, Any]) -> bytes:
    """Return the one byte string for these values: sorted keys, no spaces, UTF-8, no NaN."""
    return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _validated(values: Any) -> Manifest:  # noqa: ANN401  whatever the JSON held
    _check(isinstance(values, dict), "the manifest", "must be an object")
    keys = {"format", "architecture", "stages", "input_spec", "task", "head", "embedding_size"}
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
    _check_files(values["input_spec"].get(_FILES, {}))
    size = values["embedding_size"]
    _check(type(size) is int and 0 < size <= MAX_EMBEDDING_SIZE, "embedding_size", f"must be 1 to {MAX_EMBEDDING_SIZE}")
    return Manifest(
        architecture=architecture["name"],
        arguments=architecture["arguments"],
        stages=_stages(values["stages"]),
        input_spec=values["input_spec"],
        task=None if values["task"] is None else read_task(values["task"]),
        head=values["head"],
        embedding_size=size,
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


def _check_files(values: Any) -> None:  # noqa: ANN401  whatever the JSON held
    place = f"input_spec.{_FILES}"
    _check(isinstance(values, dict) and len(values) <= MAX_FILES, place, f"must be an object of at most {MAX_FILES}")
    for name, digest in values.items():
        _check(
            _matches(_STAGE_NAME, name), f"{place}.{name[:80]}", "must be named by lower-case letters, digits and '_'"
        )
        _check(_matches(DIGEST, digest), f"{place}.{name}", "must be 64 lower-case hexadecimal digits")


def _matches(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _check(holds: bool, place: str, rule: str) -> None:  # noqa: FBT001  reads as an assertion
    if not holds:
        raise InvalidManifest(f"{place} {rule}")
