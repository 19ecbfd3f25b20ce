"""Training jobs as the store hands them out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Any

from model_store.names import VersionName, job_name
from model_store.records.job_lifecycle import ENDED, JobState
from model_store.records.promotion import Promotion, PromotionSpec

DEFAULT_MAX_FAILURES = 3
REMARKS = "remarks"
"""The hyperparameter with remarks on how a version was made, a list of sentences."""


BASE_CHOICE = "base_choice"
"""The hyperparameter that says why a version's base was chosen, a sentence."""
NO_BASE = VersionName("", 0)
"""The base of a job whose base is not known yet."""


class ErrorCode(IntEnum):
    """Why a job failed, by the numbers of google.rpc.Code."""

    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15


@dataclass(frozen=True)
class JobError:
    """Why a job failed: a code for programs and a message for people."""

    code: ErrorCode
    message: str


@dataclass(frozen=True)
class JobUrgency:
    """The priority of a job, and the conditions under which it fails.

    The highest `priority` goes first. A job fails if it has not ended at `deadline`, or after its runners died
    `max_failures` times in a row without a new checkpoint.
    """

    priority: int = 0
    deadline: datetime | None = None
    max_failures: int = DEFAULT_MAX_FAILURES


@dataclass(frozen=True)
class JobSpec:
    """The specification of a training job, every default filled in.

    A job that chooses its base has an `asked_recipe`, the recipe as its caller wrote it: until the base is chosen it is
    NO_BASE, and `recipe` is one that accepts the caller's values.

    With `search`, a space of recipes in plain JSON values, the job trains nothing itself: it runs trials, each of them
    a job, and `base` and `recipe` become those of the best.
    """

    model_id: str
    base: VersionName
    dataset_id: str
    recipe: Mapping[str, Any]
    seed: int
    alias: str | None
    urgency: JobUrgency = JobUrgency()
    promote: PromotionSpec | None = None
    asked_recipe: Mapping[str, Any] | None = None
    search: Mapping[str, Any] | None = None

    @property
    def chooses_base(self) -> bool:
        """Say whether the service chooses the base, or has chosen it."""
        return self.asked_recipe is not None


@dataclass(frozen=True)
class Trial:
    """The place of a job in its search: numbers begin with 1; `stopped` says why the search ended it early."""

    search_id: str
    number: int
    stopped: str = ""


SEARCH_ENDED = "its search has ended"
"""Why a trial was stopped that says nothing about the trial itself."""


@dataclass(frozen=True)
class Validated:
    """The task's headline metric and the loss of a job's result on validation rows; None without a finite number."""

    metric: float | None = None
    loss: float | None = None


NOT_VALIDATED = Validated()
"""The figures of a job that has none."""


@dataclass(frozen=True)
class JobCheckpoint:
    """The state of a job after a number of steps, in one blob."""

    step: int
    digest: str
    size_bytes: int


@dataclass(frozen=True)
class TrainingJob:
    """One fine-tune and its state.

    `num_attempts` counts the runners that started it; `num_failures` counts those of them that died in a row, without a
    checkpoint in between. It waits until `next_attempt_at` for the next one. `step` is the step of its newest
    checkpoint. `recommendation` is what the base was chosen by, plain JSON, once it is. The `etag` changes with the
    state of the job and of its promotion; the `principal` created it. A search keeps in `search_plan` what it will try,
    in plain JSON values.
    """

    id: str
    spec: JobSpec
    state: JobState
    error: JobError | None
    version: VersionName | None
    num_attempts: int
    num_failures: int
    next_attempt_at: datetime | None
    step: int | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    last_sequence: int
    promotion: Promotion | None = None
    etag: str = ""
    principal: str = ""
    recommendation: Mapping[str, Any] | None = None
    validated: Validated = NOT_VALIDATED
    search_plan: Mapping[str, Any] | None = None
    trial: Trial | None = None

    @property
    def name(self) -> str:
        """Resource name."""
        return job_name(self.id)

    @property
    def is_settled(self) -> bool:
        """Say whether nothing more will happen to it of itself."""
        return self.state in ENDED and (self.promotion is None or not self.promotion.is_open)


@dataclass(frozen=True)
class JobEvent:
    """One thing that happened to a job: `kind` is `state`, `progress`, `promotion` or `message`."""

    sequence: int
    kind: str
    payload: Mapping[str, Any]
    created_at: datetime
