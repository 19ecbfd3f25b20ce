"""Answers for rows that a version has not learned from, kept with it, so that versions are compared row by row later.

Of a large dataset they are the version's own answers for test rows. Of a small one they are those of cross-validation:
for each row by other fits of the version's recipe, without the row's fold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model_store.blobs import BlobStore, StoredBlob
from model_store.errors import InvalidInput
from model_store.records.resources import ModelVersion
from model_store.registry.models import ModelStore
from model_store.tasks import Task
from model_store.tensors.stages import read_stage, write_stage
from training_service.datasets.splits import Split
from training_service.tasks import TRAINING_TASKS
from training_service.tasks.training_task import Answers, Outputs, Targets

MAX_ROWS = 1000
_MAX_NUMBERS = 250_000  # of outputs: a megabyte
_DIGEST_BYTES = 32


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Outputs [draws, n, outputs] for rows, in ascending order of their digests, uint8 [n, 32], beside the targets.

    Rows with one number in `groups`, int64 [n], depend on one another. Cross-validation has one or more draws of folds;
    the version's own answers are one draw.
    """

    digests: NDArray[np.uint8]
    outputs: Outputs
    targets: Targets
    groups: NDArray[np.int64]
    task: Task
    is_cross_validated: bool

    @classmethod
    def of(
        cls,
        digests: Sequence[str],
        outputs: Outputs,
        targets: Targets,
        groups: NDArray[np.int64],
        task: Task,
        *,
        is_cross_validated: bool,
    ) -> HeldOut:
        """Take answers for rows in any order; of rows with the same bytes the first one counts.

        Of too many rows those of the lowest digests are kept, which are the same ones for other versions.
        """
        raw = np.frombuffer(bytes.fromhex("".join(digests)), np.uint8).reshape(-1, _DIGEST_BYTES)
        _, first = np.unique(np.array(digests), return_index=True)
        num_rows = min(MAX_ROWS, max(_MAX_NUMBERS // (outputs.shape[0] * outputs.shape[2]), 1))
        chosen = first[:num_rows]
        return cls(raw[chosen], outputs[:, chosen], targets[chosen], groups[chosen], task, is_cross_validated)

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def answers(self) -> Sequence[Answers]:
        """The answers of each draw."""
        return [Answers(outputs, self.targets, self.task) for outputs in self.outputs]

    def at(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> HeldOut:
        """Return the answers for some rows."""
        return replace(
            self,
            digests=self.digests[rows],
            outputs=self.outputs[:, rows],
            targets=self.targets[rows],
            groups=self.groups[rows],
        )

    def to_tensors(self) -> dict[str, Tensor]:
        """Return tensors by name."""
        return {
            "digests": torch.from_numpy(self.digests.copy()),
            "outputs": torch.from_numpy(self.outputs.astype(np.float32)),
            "targets": torch.from_numpy(self.targets.copy()),
            "groups": torch.from_numpy(self.groups.astype(np.int64)),
            "is_cross_validated": torch.tensor(self.is_cross_validated),
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], task: Task) -> HeldOut:
        """Read the form that `to_tensors` writes."""
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        return cls(
            arrays["digests"],
            arrays["outputs"],
            arrays["targets"],
            arrays["groups"],
            task,
            bool(arrays["is_cross_validated"]),
        )


@dataclass(frozen=True, eq=False)
class Paired:
    """Answers of two versions for the same rows, by draw, and the group of each row."""

    own: Sequence[Answers]
    other: Sequence[Answers]
    groups: NDArray[np.int64]
    is_cross_validated: bool

    def __len__(self) -> int:
        return len(self.groups)

    @property
    def metrics(self) -> dict[str, tuple[float, float]]:
        """The figures of both, means over draws, own first, by the name of each metric that both have a value of."""
        measure = TRAINING_TASKS[self.own[0].task.kind].measure
        values = [[measure(answers, Split.TEST).values for answers in draws] for draws in (self.own, self.other)]
        names = (name for name in values[0][0] if all(name in each for draws in values for each in draws))
        return {name: (_mean(name, values[0]), _mean(name, values[1])) for name in names}

    @property
    def rows_text(self) -> str:
        """Write what rows these are."""
        return "rows left out in cross-validation" if self.is_cross_validated else "test rows"


def _mean(name: str, values: Sequence[Mapping[str, float]]) -> float:
    return float(np.mean([each[name] for each in values]))


def pair_of(own: Answers, other: Answers) -> Paired:
    """Return answers of both for test rows."""
    return Paired([own], [other], np.arange(len(own)), is_cross_validated=False)


def write_held_out(blobs: BlobStore, held_out: HeldOut) -> StoredBlob:
    """Store the answers for held-out rows."""
    return write_stage(blobs, held_out.to_tensors())


def read_held_out(store: ModelStore, version: ModelVersion) -> HeldOut | None:
    """Return the answers that are kept with a version; None where there are none.

    Raises MissingBlob, CorruptBlob or InvalidManifest where the store is damaged.
    """
    task = store.manifest(version).task
    if version.answers is None or task is None:
        return None
    return HeldOut.from_tensors(read_stage(store.blobs, version.answers.digest), task)


def paired(own: HeldOut | None, other: HeldOut | None) -> Paired | None:
    """Return the answers for the rows that both were held out from, found by their bytes; None where there is none.

    The targets are those of `own`. Rows with labels that the other one lacks count as wrong for it; it cannot be
    compared on targets that it lacks.
    """
    if own is None or other is None or own.task.kind != other.task.kind:
        return None
    first, second = (
        np.ascontiguousarray(each.digests).view(f"S{_DIGEST_BYTES}").ravel().astype(np.bytes_) for each in (own, other)
    )
    _, mine, theirs = np.intersect1d(first, second, return_indices=True)
    if not len(mine):
        return None
    own, other = own.at(mine), other.at(theirs)
    try:
        matched = TRAINING_TASKS[own.task.kind].match(other.task, own.task, own.targets, allow_unknown=True)
    except InvalidInput:
        return None
    others = [Answers(matched.chosen(outputs), matched.targets, matched.task) for outputs in other.outputs]
    is_cross_validated = own.is_cross_validated or other.is_cross_validated
    return Paired(own.answers, others, own.groups, is_cross_validated)
