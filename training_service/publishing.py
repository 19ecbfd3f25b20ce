"""What must hold of a version that was trained elsewhere, before it is registered."""

from __future__ import annotations

from collections.abc import Sequence

from model_store.architectures import Head, architecture_names, check_stage_tensors, stage_names
from model_store.blobs import BlobStore
from model_store.errors import IllegalState, InvalidInput, InvalidManifest
from model_store.inputs import ImageInputSpec
from model_store.manifests import Manifest
from model_store.stages import read_stage

_SHOWN_DIGESTS = 3


def check_publishable(manifest: Manifest, blobs: BlobStore) -> None:
    """Check a manifest against its architecture and every byte of its stages.

    Raises InvalidInput naming the field of the manifest, InvalidManifest naming the stage and tensor, IllegalState
    naming the blobs that are not stored, and CorruptBlob.
    """
    head = check_manifest(manifest)
    if missing := [stage.digest for stage in manifest.stages if not blobs.has(stage.digest)]:
        raise IllegalState(
            f"{len(missing)} blobs were neither stored nor sent: {_shown(missing)}; send them and try again"
        )
    for stage in manifest.stages:
        tensors = {name: (tensor.shape, tensor.dtype) for name, tensor in read_stage(blobs, stage.digest).items()}
        check_stage_tensors(manifest.architecture, manifest.arguments, head, stage.name, tensors)


def check_manifest(manifest: Manifest) -> Head:
    """Check everything about a manifest that can be known without its blobs, and return its head."""
    if manifest.architecture not in architecture_names():
        known = ", ".join(architecture_names())
        raise InvalidInput.of("header.manifest_json", f"architecture {manifest.architecture!r} is not one of {known}")
    head = Head.from_json(manifest.head)
    if len(manifest.labels) != head.num_labels:
        raise InvalidManifest(
            f"labels must be {head.num_labels}, as many as head.num_labels says, not {len(manifest.labels)}"
        )
    ImageInputSpec.from_json(manifest.input_spec)
    wanted = stage_names(manifest.architecture, manifest.arguments, head)
    found = tuple(stage.name for stage in manifest.stages)
    if found != wanted:
        raise InvalidManifest(f"stages must be {', '.join(wanted)}, in this order, not {', '.join(found)}")
    return head


def _shown(digests: Sequence[str]) -> str:
    more = len(digests) - _SHOWN_DIGESTS
    return ", ".join(digests[:_SHOWN_DIGESTS]) + (f" and {more} more" if more > 0 else "")
