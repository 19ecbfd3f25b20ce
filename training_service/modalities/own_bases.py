"""Publishes the base of a job that names none: its dataset's modality makes one, small and the same each time."""

from __future__ import annotations

from model_store.errors import InvalidInput
from model_store.manifests import ManifestStage
from model_store.names import VersionName
from model_store.records.resources import Dataset, Lineage
from model_store.registry.models import ModelStore
from model_store.tensors.stages import write_stages
from model_store.transactions.publication import Publication
from training_service.modalities import MODALITIES
from training_service.recipes.recipe import RecipeName

_HEADS_ALONE = {None, RecipeName.LINEAR_PROBE, RecipeName.FIT_HEAD}


def check_own_base(modality: str, recipe: RecipeName | None, field: str) -> None:
    """Raise InvalidInput for `field` unless a job with this recipe needs no base; None is the service's own choice."""
    if recipe not in MODALITIES[modality].OWN_BASE_RECIPES:
        raise InvalidInput.of(
            field,
            f"must name the version to start from, for examples of the modality {modality}: `maas bases` lists what "
            "`maas import` can bring in",
        )


def publish_own_base(
    store: ModelStore, dataset: Dataset, field: str, recipe: RecipeName | None, *, principal: str
) -> VersionName:
    """Return the base for a dataset, published unless it has been; raise InvalidInput for `field` where none can be.

    Its model is named by the architecture and the digest of what it is: datasets of one schema share a base.
    """
    modality = dataset.summary["modality"]
    check_own_base(modality, recipe, field)
    made = MODALITIES[modality].own_base(dataset.summary["about"], trains_stages=recipe not in _HEADS_ALONE)
    assert made is not None  # noqa: S101  the modality has said so
    written = write_stages(store.blobs, {name: made.chain.stage_tensors(name) for name in made.chain.stage_names})
    manifest = made.manifest([ManifestStage(name, blob.digest) for name, blob in written.items()])
    published = store.publish(
        Publication(
            model_id=f"{made.architecture.replace('_', '-')}-{manifest.digest[:12]}",
            manifest=manifest,
            lineage=Lineage(recipe={"name": "import", **made.origin}),
            principal=principal,
            new_digests=[blob.digest for blob in written.values() if blob.added_bytes],
            request_id=f"own-base-{manifest.digest}",
        )
    )
    return published.name
