"""Publishes the base of a job that names none: its dataset's modality makes one, small and the same each time."""

from __future__ import annotations

from model_store.bases.base import LoadedBase
from model_store.errors import InvalidInput
from model_store.manifests import ManifestStage
from model_store.modalities import InputSpec, read_input_spec
from model_store.names import VersionName
from model_store.records.resources import Dataset, Lineage
from model_store.registry.models import ModelStore
from model_store.tensors.stages import write_stages
from model_store.transactions.publication import Publication
from training_service.modalities import BASES_WITH_TEXT, MODALITIES, TEXT, TextBase
from training_service.recipes.recipe import RecipeName

TEXT_BASE = "text_base"
HEADS_ALONE = {None, RecipeName.LINEAR_PROBE, RecipeName.FIT_HEAD}


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
    made = MODALITIES[modality].own_base(dataset.summary["about"], trains_stages=recipe not in HEADS_ALONE)
    assert made is not None  # noqa: S101  the modality has said so
    return _published(store, made, None, principal)


def check_text_base(base: VersionName, spec: InputSpec, modality: str) -> None:
    """Raise InvalidInput unless a version can read a column of texts in examples of a modality, of any where empty."""
    if modality and modality not in BASES_WITH_TEXT:
        takes = ", ".join(BASES_WITH_TEXT)
        rule = (
            f"reads a column of text in examples of the modality {takes}, and these are of {modality}: name it as "
            "the base, or upload with --modality table"
        )
        raise InvalidInput.of(TEXT_BASE, rule)
    if spec.kind != TEXT:
        rule = (
            f"{base} takes examples of the modality {spec.kind}: name a version that takes those of the modality {TEXT}"
        )
        raise InvalidInput.of(TEXT_BASE, rule)


def publish_base_with_text(
    store: ModelStore, dataset: Dataset, base: VersionName, column: str, *, principal: str | None
) -> VersionName | None:
    """Return the base for a dataset that reads one of its columns by a base for texts, published unless it has been.

    Without a principal nothing is published, nor returned. Raise InvalidInput for `text_base` or `text_column` where
    there can be no such base.
    """
    manifest = store.manifest(store.get_version(base))
    spec, modality = read_input_spec(manifest.input_spec), dataset.summary["modality"]
    check_text_base(base, spec, modality)
    made = BASES_WITH_TEXT[modality](dataset.summary["about"], TextBase(str(base), manifest, spec, column))
    return _published(store, made, base, principal) if principal is not None else None


def _published(store: ModelStore, made: LoadedBase, of: VersionName | None, principal: str) -> VersionName:
    """Publish a base, unless it has been, which begins with stages of another version or of none."""
    own = [name for name in made.chain.stage_names if name not in made.stored]
    written = write_stages(store.blobs, {name: made.chain.stage_tensors(name) for name in own})
    digests = {**made.stored, **{name: blob.digest for name, blob in written.items()}}
    manifest = made.manifest([ManifestStage(name, digests[name]) for name in made.chain.stage_names])
    published = store.publish(
        Publication(
            model_id=f"{made.architecture.replace('_', '-')}-{manifest.digest[:12]}",
            manifest=manifest,
            lineage=Lineage(base=of, recipe={"name": "import", **made.origin}),
            principal=principal,
            new_digests=[blob.digest for blob in written.values() if blob.added_bytes],
            request_id=f"own-base-{manifest.digest}",
        )
    )
    return published.name
