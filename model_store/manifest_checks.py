"""Does a manifest fit its architecture? Asked before a version is registered, and again before it is loaded."""

from __future__ import annotations

from model_store.architectures import Head, check_input, embedding_size, stage_names
from model_store.errors import InvalidManifest
from model_store.manifests import Manifest
from model_store.modalities import read_input_spec


def check_manifest(manifest: Manifest) -> Head:
    """Check all that can be known without the blobs, and return the head; raise InvalidManifest naming the place."""
    head = Head.from_json(manifest.head)
    _check_task(manifest, head)  # first: no head is built for outputs without names
    wanted = stage_names(manifest.architecture, manifest.arguments, head)
    found = tuple(stage.name for stage in manifest.stages)
    if found != wanted:
        raise InvalidManifest(f"stages of {manifest.architecture} must be {', '.join(wanted)}, not {', '.join(found)}")
    size = embedding_size(manifest.architecture, manifest.arguments)
    if manifest.embedding_size != size:
        raise InvalidManifest(
            f"embedding_size of {manifest.architecture} must be {size}, not {manifest.embedding_size}"
        )
    check_input(manifest.architecture, manifest.arguments, read_input_spec(manifest.input_spec))
    return head


def _check_task(manifest: Manifest, head: Head) -> None:
    """Raise InvalidManifest unless head and task fit."""
    if len(manifest.names) != head.outputs:
        raise InvalidManifest(f"task must name {head.outputs} outputs, as head.outputs says, not {len(manifest.names)}")
    if manifest.task is None:
        return
    if manifest.task.activation != head.activation:
        wanted = manifest.task.activation
        raise InvalidManifest(f"head.activation must be {wanted!r} for {manifest.task.kind}, not {head.activation!r}")
