"""Does a manifest fit its architecture? Asked before a version is registered, and again before it is loaded."""

from __future__ import annotations

from model_store.architectures import Head, stage_names
from model_store.errors import InvalidManifest
from model_store.inputs import ImageInputSpec
from model_store.manifests import Manifest


def check_manifest(manifest: Manifest) -> Head:
    """Check all that can be known without the blobs, and return the head; raise InvalidManifest naming the place."""
    head = Head.from_json(manifest.head)
    wanted = stage_names(manifest.architecture, manifest.arguments, head)
    found = tuple(stage.name for stage in manifest.stages)
    if found != wanted:
        raise InvalidManifest(f"stages of {manifest.architecture} must be {', '.join(wanted)}, not {', '.join(found)}")
    if len(manifest.labels) != head.num_labels:
        raise InvalidManifest(f"labels must be {head.num_labels}, as head.num_labels says, not {len(manifest.labels)}")
    ImageInputSpec.from_json(manifest.input_spec)
    return head
