"""Searches whose driver, and whose trials, run in the processes of a service."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from maas.training.v1 import training_pb2 as pb

from tests.training_service.running import until, worker_pids
from tests.training_service.search.searching import searched, searching_service, space, trials
from training_service.jobs.worker_process import SEARCH_WORKER


@pytest.mark.slow
def test_a_killed_driver_loses_no_trial(tmp_path: Path) -> None:
    """Kill -9 of the driver in the middle; then a trial that would last for ever is cancelled with its search."""
    with searching_service(tmp_path, num_jobs=1) as service:
        job = searched(service, "killed", pb.Search(recipes=space(), max_trial_count=4))
        until(lambda: any(each.state == pb.TRAINING_JOB_STATE_SUCCEEDED for each in trials(service, job)))
        (pid,) = worker_pids(module=SEARCH_WORKER)
        os.kill(pid, signal.SIGKILL)
        ended = service.await_end(job.name)
        assert ended.state == pb.TRAINING_JOB_STATE_SUCCEEDED
        assert ended.attempt_count > 1
        assert [each.trial.number for each in trials(service, job)] == [1, 2, 3, 4]
        endless = searched(service, "endless", pb.Search(recipes=space(10_000)[1:], max_trial_count=3))
        until(lambda: any(each.state == pb.TRAINING_JOB_STATE_RUNNING for each in trials(service, endless)))
        service.training.CancelTrainingJob(pb.CancelTrainingJobRequest(name=endless.name))
        assert service.await_end(endless.name).state == pb.TRAINING_JOB_STATE_CANCELLED
        (trial,) = trials(service, endless)
        assert service.await_end(trial.name).state == pb.TRAINING_JOB_STATE_CANCELLED
