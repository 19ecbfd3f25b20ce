"""Runs one attempt of a job to its end or its stop: what goes wrong becomes the job's error, and an exit code."""

from __future__ import annotations

from collections.abc import Callable

import structlog
import torch

from grpc_runtime.errors import code_of
from model_store.errors import Conflict, StoreError, Unavailable
from model_store.names import job_name
from model_store.records.job_lifecycle import JobState
from model_store.records.jobs import ErrorCode, JobError
from model_store.registry.jobs import Claim, JobStore
from training_service.jobs.work_order import EXIT_ENDED, EXIT_STOPPED
from training_service.training.outcome import TrainingFailed

_log = structlog.get_logger()


class Stopped(Exception):
    """The runner has stopped this worker."""


def attempt(jobs: JobStore, claim: Claim, work: Callable[[], None]) -> int:
    """Do the work and return the exit code; a job that cannot succeed is ended as FAILED, with the reason."""
    try:
        work()
    except (Stopped, Conflict, Unavailable) as error:
        _log.warning(
            "job_stopped",
            job=job_name(claim.job_id),
            reason=error.in_full if isinstance(error, StoreError) else "told to stop",
        )
        return EXIT_STOPPED
    except StoreError as error:
        _log.warning("job_failed", job=job_name(claim.job_id), reason=error.in_full)
        return _fail(jobs, claim, _code_of(error), str(error))
    except torch.OutOfMemoryError:
        return _fail(
            jobs,
            claim,
            ErrorCode.RESOURCE_EXHAUSTED,
            "the device has too little memory for this batch_size: choose a smaller one",
        )
    except Exception as error:  # noqa: BLE001  the outermost frame of a job
        _log.exception("job_failed", job=job_name(claim.job_id))
        text = f"internal error ({type(error).__name__}); the service's log tells more"
        return _fail(jobs, claim, ErrorCode.INTERNAL, text)
    return EXIT_ENDED


def _fail(jobs: JobStore, claim: Claim, code: ErrorCode, reason: str) -> int:
    try:
        jobs.advance(claim, JobState.FAILED, error=JobError(code, reason))
    except (Conflict, Unavailable) as error:
        _log.warning("job_stopped", job=job_name(claim.job_id), reason=error.in_full, after=reason)
        return EXIT_STOPPED
    return EXIT_ENDED


def _code_of(error: StoreError) -> ErrorCode:
    """Return the code that a caller of the service would see for the same error."""
    if isinstance(error, TrainingFailed):
        return ErrorCode.FAILED_PRECONDITION
    code = code_of(error)
    return ErrorCode[code.name] if code is not None else ErrorCode.INTERNAL
