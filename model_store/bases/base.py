"""What a base is, before it is loaded and after that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from model_store.architectures import Chain, Head
from model_store.manifests import Manifest, ManifestStage
from model_store.modalities.spec import InputSpec
from model_store.normal_form import normal_form
from model_store.tasks import Classification


@dataclass(frozen=True)
class Base:
    """A base that can be imported, before any download; `labels` is empty for a backbone without a head."""

    architecture: str
    source: str
    licence: str
    download_bytes: int
    num_parameters: int
    input_spec: InputSpec
    labels: tuple[str, ...]


@dataclass(frozen=True)
class LoadedBase:
    """A base with its weights, on the CPU in eval mode; `origin` says in words where they come from.

    `files` are the bytes of those that the input spec names by their digests. `stored` are the digests of stages that
    are another version's, by name: their blobs are in the store already, and `chain` has them without numbers.
    """

    architecture: str
    arguments: Mapping[str, Any]
    chain: Chain
    head: Head
    input_spec: InputSpec
    labels: tuple[str, ...]
    origin: Mapping[str, str]
    files: tuple[bytes, ...] = ()
    stored: Mapping[str, str] = field(default_factory=dict)

    def manifest(self, stages: Sequence[ManifestStage]) -> Manifest:
        """Return the manifest of the base with these stored stages, its labels in their normal form."""
        return Manifest(
            architecture=self.architecture,
            arguments=self.arguments,
            stages=tuple(stages),
            input_spec=self.input_spec.to_json(),
            task=Classification(tuple(map(normal_form, self.labels))) if self.labels else None,
            head=self.head.to_json(),
            embedding_size=self.chain.embedding_size,
        )
