"""The features of a version whose stage `select` scored them: the score of each, and whether it is kept."""

from __future__ import annotations

from dataclasses import dataclass

from model_store.blobs import BlobStore
from model_store.manifests import Manifest
from model_store.modalities import read_input_spec
from model_store.tensors.stages import read_stage
from training_service.modalities import FEATURE_NAMES
from training_service.recipes.selection import SELECT


@dataclass(frozen=True)
class ScoredFeature:
    """One feature of a backbone."""

    name: str
    score: float
    is_kept: bool


def scored_features(blobs: BlobStore, manifest: Manifest) -> tuple[ScoredFeature, ...]:
    """Return the features of a version, in order; none where it does not select."""
    digests = {stage.name: stage.digest for stage in manifest.stages}
    if SELECT not in digests:
        return ()
    spec, stage = read_input_spec(manifest.input_spec), read_stage(blobs, digests[SELECT])
    names = FEATURE_NAMES[spec.kind](spec, manifest.arguments)
    scored = zip(names, stage["scores"].tolist(), stage["kept"].tolist(), strict=True)
    return tuple(ScoredFeature(name, score, bool(kept)) for name, score, kept in scored)
