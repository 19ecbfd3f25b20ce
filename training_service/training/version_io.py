"""Versions in and out of a fine-tune: the base's backbone is read, and what changed is written and published."""

from __future__ import annotations

import math

from model_store.architectures import Chain, Head, borrowed_stages, build, build_random, initialise_head
from model_store.blobs import BlobStore, StoredBlob
from model_store.calibration import write_calibration, write_logits
from model_store.manifests import Manifest, ManifestStage
from model_store.modalities import InputSpec, Rows
from model_store.names import job_name
from model_store.records.jobs import NOT_VALIDATED, JobSpec, Validated
from model_store.records.resources import Lineage, ModelVersion
from model_store.registry.jobs import Claim
from model_store.registry.models import ModelStore
from model_store.tasks import Task
from model_store.tensors.stages import check_finite, read_stages, write_stages
from model_store.transactions.promotions import Gated
from model_store.transactions.publication import Publication
from training_service.tasks.training_task import Validation
from training_service.training.training_context import FineTuned, linear_head


def trainable_stages(manifest: Manifest) -> tuple[str, ...]:
    """Return the backbone stages that have parameters and are the architecture's own, first to last."""
    chain = build(manifest.architecture, manifest.arguments, Head("none"))
    borrowed = borrowed_stages(manifest.architecture, manifest.arguments)
    own = ((name, stage) for name, stage in chain.backbone if name not in borrowed)
    return tuple(name for name, stage in own if any(True for _ in stage.parameters()))


def read_backbone(blobs: BlobStore, manifest: Manifest, task: Task, seed: int) -> Chain:
    """Return a chain with the base's backbone and a fresh linear head for a task, whichever task the base has.

    Raises MissingBlob, CorruptBlob or InvalidManifest where the base cannot be used.
    """
    digests = {stage.name: stage.digest for stage in manifest.stages}
    chain = build(manifest.architecture, manifest.arguments, linear_head(task))
    read = read_stages(blobs, [digests[name] for name, _ in chain.backbone if name in digests])
    for name, _ in chain.backbone:
        chain.load_stage(name, read[digests[name]] if name in digests else {})
    initialise_head(chain, seed)
    return chain


def random_chain(manifest: Manifest, task: Task, seed: int) -> Chain:
    """Return a chain of the base's architecture with none of its weights; equal seeds give equal ones."""
    return build_random(manifest.architecture, manifest.arguments, linear_head(task), seed)


def publish(
    store: ModelStore,
    base: Manifest,
    tuned: FineTuned,
    spec: InputSpec,
    *,
    calibrate_by: Rows | str,
    answers: StoredBlob | None = None,
    job: JobSpec,
    claim: Claim,
    gated: Gated | None = None,
) -> ModelVersion:
    """Store what the fine-tune changed and register the version, which ends the job in the same transaction.

    A stage that did not train keeps the base's blob, and is not even read. The version is calibrated by the rows
    `calibrate_by`: those in the blob of this digest, or else prepared rows, which are stored with it. Raises
    InvalidManifest where weights, or the answers to these rows, are not finite numbers, LeaseLost where another runner
    has the job by now, and AliasMoved where the verdict compared with another version; nothing is registered then.
    """
    written = _changed_stages(store.blobs, base, tuned)
    kept = {stage.name: stage.digest for stage in base.stages}
    stages = [
        ManifestStage(name, written[name].digest if name in written else kept[name]) for name in tuned.chain.stage_names
    ]
    if isinstance(calibrate_by, str):
        calibration = write_logits(store.blobs, tuned.chain, calibrate_by, spec, tuned.reference)
    else:
        calibration = write_calibration(store.blobs, tuned.chain, calibrate_by, spec, tuned.reference)
    blobs = [*written.values(), *([answers] if answers is not None else [])]
    publication = Publication(
        model_id=job.model_id,
        manifest=Manifest(
            architecture=base.architecture,
            arguments=base.arguments,
            stages=tuple(stages),
            input_spec=spec.to_json(),
            task=tuned.answers.task,
            head=tuned.head.to_json(),
            embedding_size=tuned.chain.embedding_size,
        ),
        lineage=Lineage(job.base, job.dataset_id, claim.job_id, tuned.hyperparameters, job.seed),
        metrics=tuned.metrics,
        calibration=calibration,
        answers=answers.digest if answers is not None else None,
        alias=job.alias,
        actor=job_name(claim.job_id),
        new_digests=[*(blob.digest for blob in blobs if blob.added_bytes), *calibration.new_digests],
        claim=claim,
        validated=_validated(tuned.answers.validation),
        gated=gated,
    )
    return store.publish(publication)


def _validated(found: Validation | None) -> Validated:
    """Return the figures that a job keeps: finite ones, as databases know no others."""
    if found is None:
        return NOT_VALIDATED
    metric, loss = (number if math.isfinite(number) else None for number in (found.metric, found.loss))
    return Validated(metric, loss)


def _changed_stages(blobs: BlobStore, base: Manifest, tuned: FineTuned) -> dict[str, StoredBlob]:
    unchanged = {stage.name for stage in base.stages} - set(tuned.changed)
    changed = {name: tuned.chain.stage_tensors(name) for name in tuned.chain.stage_names if name not in unchanged}
    for name, tensors in changed.items():
        check_finite(name, tensors)
    return write_stages(blobs, changed)
