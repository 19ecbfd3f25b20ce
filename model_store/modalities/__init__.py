"""The modalities, the kinds of examples in training and in serving: one package each, found in one dictionary."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from model_store.blobs import BlobStore
from model_store.modalities.audio import spec as audio
from model_store.modalities.batch import EMBEDDING, IDS, MASK, Batch, X, cast, concatenated, is_sequence, split
from model_store.modalities.checks import check
from model_store.modalities.image import spec as image
from model_store.modalities.spec import InputSpec, Limits, Opened, Rows, SpecWithFiles, TensorForm, prepared
from model_store.modalities.table import spec as table
from model_store.modalities.text import spec as text
from model_store.modalities.values import spec as values

INPUT_SPECS: Mapping[str, Callable[[Mapping[str, Any]], InputSpec]] = {
    "audio": audio.AudioInputSpec.from_json,
    "image": image.ImageInputSpec.from_json,
    "text": text.TextInputSpec.from_json,
    "table": table.TableInputSpec.from_json,
    "values": values.ValuesInputSpec.from_json,
}
"""How a manifest's input spec is read, by modality."""
LIMITS: Mapping[str, Limits] = {
    "image": image.LIMITS,
    "text": text.LIMITS,
    "table": table.LIMITS,
    "audio": audio.LIMITS,
    "values": values.LIMITS,
}
"""How large examples may be where nothing else is set, by modality."""


def read_input_spec(entries: Mapping[str, Any]) -> InputSpec:
    """Read the input spec of a manifest; raise InvalidManifest naming the field that is wrong."""
    kind = entries.get("kind")
    known = ", ".join(INPUT_SPECS)
    check(isinstance(kind, str) and kind in INPUT_SPECS, "kind", f"must be one of {known}, not {kind!r}")
    return INPUT_SPECS[str(kind)](entries)


def load_input_spec(entries: Mapping[str, Any], blobs: BlobStore) -> InputSpec:
    """Read the input spec of a manifest with the files that it names, ready to prepare examples.

    Raises InvalidManifest naming the field that is wrong, and MissingBlob or CorruptBlob.
    """
    spec = read_input_spec(entries)
    return spec.with_files(blobs) if isinstance(spec, SpecWithFiles) else spec


__all__ = [
    "EMBEDDING",
    "IDS",
    "LIMITS",
    "MASK",
    "Batch",
    "InputSpec",
    "Limits",
    "Opened",
    "Rows",
    "TensorForm",
    "X",
    "cast",
    "concatenated",
    "is_sequence",
    "load_input_spec",
    "prepared",
    "read_input_spec",
    "split",
]
