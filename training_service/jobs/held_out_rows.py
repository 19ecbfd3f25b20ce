"""The rows that no base of a job learned from: those to cross-validate on, and the answers that are kept for later."""

from __future__ import annotations

import numpy as np

from model_store.records.jobs import JobSpec
from model_store.registry.datasets import DatasetStore
from model_store.registry.models import ModelStore
from training_service.datasets.manifest import DatasetManifest
from training_service.evaluation.held_out import HeldOut
from training_service.evaluation.learned_rows import LearnedRows, learned_rows
from training_service.modalities.row_groups import rows_together
from training_service.recipes.recipe import Recipe, RecipeName
from training_service.training.cross_validation.folds import MAX_ROWS, is_cross_validated
from training_service.training.training_context import CrossValidating, FineTuned, TrainingContext


def learned_by_base(store: ModelStore, datasets: DatasetStore, spec: JobSpec, recipe: Recipe) -> LearnedRows:
    """Return the rows that the base of a job and its bases learned from: none where the job takes no weights."""
    if recipe.name is RecipeName.SCRATCH:
        return LearnedRows()
    return learned_rows(store, datasets, store.get_version(spec.base).lineage)


def remark_on_base(learned: LearnedRows, spec: JobSpec, manifest: DatasetManifest, context: TrainingContext) -> None:
    """Say where the base learned from rows that the new version will be tested on."""
    if num_rows := int(learned.among(manifest, context.test).sum()):
        context.remark(
            f"{spec.base} or a base of it learned from {num_rows} of the {len(context.test)} test rows: the "
            "metrics flatter the version; fine-tune on the base's dataset, or on one that appends to it"
        )


def cross_validating(manifest: DatasetManifest, learned: LearnedRows, max_seconds: float) -> CrossValidating | None:
    """Return how a recipe is cross-validated on a dataset; None on a large one, and where the base learned from it."""
    num_rows = len(manifest.rows)
    if num_rows >= MAX_ROWS or not max_seconds:
        return None
    is_held_out = ~learned.among(manifest, np.arange(num_rows))
    if not is_cross_validated(num_rows, int(is_held_out.sum())):
        return None
    return CrossValidating(rows_together(manifest), is_held_out, max_seconds)


def held_out_answers(
    tuned: FineTuned, context: TrainingContext, manifest: DatasetManifest, learned: LearnedRows
) -> HeldOut | None:
    """Return the answers for rows that nothing of the version learned from: of cross-validation, else for test rows."""
    if tuned.left_out is not None and context.cross_validating is not None:
        positions, outputs = tuned.left_out.positions, tuned.left_out.outputs
        groups = context.cross_validating.groups[positions]
    else:
        is_held_out = ~learned.among(manifest, context.test)
        positions, outputs = context.test[is_held_out], tuned.answers.outputs[None, is_held_out]
        groups = positions
    if not len(positions):
        return None
    digests = [manifest.rows.sha256[position] for position in positions.tolist()]
    is_cross_validated = tuned.left_out is not None
    targets = context.data.targets[positions]
    return HeldOut.of(digests, outputs, targets, groups, tuned.answers.task, is_cross_validated=is_cross_validated)
