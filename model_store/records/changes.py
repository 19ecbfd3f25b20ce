"""The change feed as the store hands it out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class ChangeKind(StrEnum):
    """The kinds of changes of a resource; a job's are `job_` and its state."""

    MODEL_CREATED = "model_created"
    MODEL_UPDATED = "model_updated"
    MODEL_DELETED = "model_deleted"
    MODEL_UNDELETED = "model_undeleted"
    VERSION_PUBLISHED = "version_published"
    VERSION_UPDATED = "version_updated"
    VERSION_DELETED = "version_deleted"
    VERSION_UNDELETED = "version_undeleted"
    ALIAS_MOVED = "alias_moved"
    ALIAS_MOVE_REFUSED = "alias_move_refused"
    ALIAS_DELETED = "alias_deleted"
    DATASET_REGISTERED = "dataset_registered"
    DATASET_DELETED = "dataset_deleted"
    DATASET_UNDELETED = "dataset_undeleted"
    PURGED = "purged"
    JOB_QUEUED = "job_queued"
    JOB_PREPARING = "job_preparing"
    JOB_RUNNING = "job_running"
    JOB_PAUSING = "job_pausing"
    JOB_PAUSED = "job_paused"
    JOB_CANCELLING = "job_cancelling"
    JOB_SUCCEEDED = "job_succeeded"
    JOB_FAILED = "job_failed"
    JOB_CANCELLED = "job_cancelled"


@dataclass(frozen=True)
class Change:
    """One entry of the change feed: the resource, the kind of change, and the principal.

    The `kind` is a ChangeKind, or one of a newer maas that writes to the same store.
    """

    sequence: int
    kind: str
    resource: str
    created_at: datetime
    principal: str = ""
