"""Wishes and kills that meet real runners and workers at any moment: each job goes where it was sent."""

from __future__ import annotations

import os
import random
import signal
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import grpc
import pytest
from maas.training.v1 import training_pb2 as pb

from model_store.records.job_lifecycle import JobState, may_move
from model_store.transactions.listings import ListRequest
from tests.training_service.making import photos, publish_base, tar_of
from tests.training_service.running import RunningService, running_service, until, worker_pids

PAUSED, SUCCEEDED = pb.TRAINING_JOB_STATE_PAUSED, pb.TRAINING_JOB_STATE_SUCCEEDED
STOPPED = {pb.TRAINING_JOB_STATE_FAILED, pb.TRAINING_JOB_STATE_CANCELLED}
AT_REST = {PAUSED, SUCCEEDED, *STOPPED}
MOMENTS = [pb.TRAINING_JOB_STATE_QUEUED, pb.TRAINING_JOB_STATE_PREPARING, pb.TRAINING_JOB_STATE_RUNNING]
RECIPE = pb.Recipe(classic={"epoch_count": 2})
NUM_ACTS = 6


def test_a_job_that_is_paused_while_it_prepares_is_paused(tmp_path: Path) -> None:
    """Its worker sees it before the runner's next heartbeat; the job goes on when it is resumed."""
    with running_service(tmp_path, heartbeat_seconds=5, lease_seconds=15) as service:
        publish_base(service.store)
        service.upload(tar_of(photos(4)))
        job = service.create(recipe=RECIPE)
        until(lambda: service.job(job.name).state == pb.TRAINING_JOB_STATE_PREPARING)
        service.training.PauseTrainingJob(pb.PauseTrainingJobRequest(name=job.name))
        until(lambda: service.job(job.name).state == PAUSED)
        service.training.ResumeTrainingJob(pb.ResumeTrainingJobRequest(name=job.name))
        assert service.await_end(job.name).state == SUCCEEDED


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(30))
def test_a_job_has_one_end_whatever_meets_it(tmp_path: Path, seed: int) -> None:
    """Two jobs, two runners, and six seeded actions or kills; then both are let go on."""
    chance = random.Random(seed)
    with running_service(tmp_path, num_concurrent_jobs=2, heartbeat_seconds=1, checkpoint_seconds=0) as service:
        publish_base(service.store)
        service.upload(tar_of(photos(4)))
        names = [service.create(recipe=RECIPE, max_failures=100).name for _ in range(2)]
        for _ in range(NUM_ACTS):
            name, moment = chance.choice(names), chance.choice(MOMENTS)
            until(lambda name=name, moment=moment: service.job(name).state in {moment, *AT_REST})
            act(service, name, chance)
        for name in names:
            go_on(service, name)
        check(service, names)


def act(service: RunningService, name: str, chance: random.Random) -> None:
    """Request an action on a job, or kill a worker; an action that cannot be met is refused."""
    training = service.training
    actions = [
        lambda: training.PauseTrainingJob(pb.PauseTrainingJobRequest(name=name)),
        lambda: training.ResumeTrainingJob(pb.ResumeTrainingJobRequest(name=name)),
        lambda: training.CancelTrainingJob(pb.CancelTrainingJobRequest(name=name)),
        lambda: training.RetryTrainingJob(pb.RetryTrainingJobRequest(name=name)),
    ]
    if chance.random() < 0.3:
        for pid in worker_pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return
    try:
        chance.choice(actions)()
    except grpc.RpcError as error:
        assert error.code() is grpc.StatusCode.FAILED_PRECONDITION, error  # noqa: PT017  most actions are met


def go_on(service: RunningService, name: str) -> None:
    """Let a job run to its success."""
    until(lambda: service.job(name).state in AT_REST)
    state = service.job(name).state
    if state == PAUSED:
        service.training.ResumeTrainingJob(pb.ResumeTrainingJobRequest(name=name))
    elif state in STOPPED:
        service.training.RetryTrainingJob(pb.RetryTrainingJobRequest(name=name))
    assert service.await_end(name).state == SUCCEEDED


def check(service: RunningService, names: list[str]) -> None:
    """Hold each job to the table of moves, and to one version."""
    versions = {service.job(name).version for name in names}
    listed = service.store.list_versions("flowers", ListRequest()).items
    assert {str(version.name) for version in listed} == versions
    assert len(listed) == len(names)
    for name in names:
        events = list(service.watch(name))
        assert [event.sequence for event in events] == [*range(1, len(events) + 1)]
        states = [JobState(_word(event.state)) for event in events if event.WhichOneof("event") == "state"]
        assert all(may_move(before, after) for before, after in pairwise(states)), states


def _word(state: pb.TrainingJobState) -> str:
    return pb.TrainingJobState.Name(state).removeprefix("TRAINING_JOB_STATE_").lower()
