"""Checks of a version that was trained elsewhere, before its registration."""

from __future__ import annotations

from model_store.architectures import check_stage_tensors
from model_store.blobs import BlobStore
from model_store.errors import IllegalState
from model_store.manifest_checks import check_manifest
from model_store.manifests import Manifest
from model_store.modalities import load_input_spec
from model_store.tensors.stages import read_forms
from model_store.texts import listed
from model_store.transactions.publication import Publication

_SHOWN_DIGESTS = 3


def check_blobs(publication: Publication, blobs: BlobStore) -> None:
    """Raise IllegalState naming the blobs that are not stored."""
    if missing := blobs.missing(publication.digests):
        raise IllegalState(
            f"{len(missing)} blobs were neither stored nor sent: {listed(missing, _SHOWN_DIGESTS)}; "
            "send them and try again"
        )


def check_stages(manifest: Manifest, blobs: BlobStore) -> None:
    """Check a manifest against its architecture and every byte of its stages and of the files of its input spec.

    Raises InvalidManifest naming the place, stage and tensor, and CorruptBlob.
    """
    head = check_manifest(manifest)
    load_input_spec(manifest.input_spec, blobs)
    forms = read_forms(blobs, [stage.digest for stage in manifest.stages])
    for stage in manifest.stages:
        check_stage_tensors(manifest.architecture, manifest.arguments, head, stage.name, forms[stage.digest])
