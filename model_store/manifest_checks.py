"""Does a manifest fit its architecture? Asked before a version is registered, and again before it is loaded."""

from __future__ import annotations

from model_store.architectures import Head, stage_names, vector_size
from model_store.errors import InvalidManifest
from model_store.manifests import Manifest
from model_store.modalities.inputs import VectorInputSpec, read_input_spec
from model_store.normal_form import normal_form


def check_manifest(manifest: Manifest) -> Head:
    """Check all that can be known without the blobs, and return the head; raise InvalidManifest naming the place."""
    head = Head.from_json(manifest.head)
    wanted = stage_names(manifest.architecture, manifest.arguments, head)
    found = tuple(stage.name for stage in manifest.stages)
    if found != wanted:
        raise InvalidManifest(f"stages of {manifest.architecture} must be {', '.join(wanted)}, not {', '.join(found)}")
    if len(manifest.labels) != head.num_labels:
        raise InvalidManifest(f"labels must be {head.num_labels}, as head.num_labels says, not {len(manifest.labels)}")
    _check_labels(manifest)
    _check_input(manifest)
    return head


def _check_labels(manifest: Manifest) -> None:
    """Raise InvalidManifest for labels that datasets would write otherwise: what is matched by name would not be."""
    for position, label in enumerate(manifest.labels):
        if label != normal_form(label):
            raise InvalidManifest(f"labels[{position}] must be in Unicode's form NFC, {normal_form(label)[:80]!r}")


def _check_input(manifest: Manifest) -> None:
    spec = read_input_spec(manifest.input_spec)
    size = vector_size(manifest.architecture, manifest.arguments)
    wanted = "image" if size is None else "vector"
    if spec.kind != wanted:
        raise InvalidManifest(f"input_spec.kind must be {wanted!r} for {manifest.architecture}, not {spec.kind!r}")
    if isinstance(spec, VectorInputSpec) and spec.size != size:
        raise InvalidManifest(f"input_spec.size must be {size}, the first of the widths, not {spec.size}")
