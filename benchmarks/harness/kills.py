"""What of training jobs outlives kill -9: of a worker, of a service, and of one of several runners."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maas.training.v1 import training_pb2 as pb

from benchmarks.harness.figures import Figure, Options
from benchmarks.harness.pictures import noisy
from benchmarks.harness.training import SUCCEEDED, Job, Training, small, training
from maas_client.transfers.publish import publish_base
from tests.postgres_server import postgres_server

_LOOK_SECONDS = 0.02
# Soon enough that what a killed service leaves is taken up within seconds.
_LEASE: dict[str, Any] = {"lease_seconds": 3, "heartbeat_seconds": 0.5}
_RECIPE = pb.Recipe(full={"epoch_count": 8})
# With a kill every 10 s, and jobs that take about as long, some are hit more than the 3 times in a row after which one
# is given up by default: 6 of 60 were.
_UNTIRING = 100
_ENDED = {SUCCEEDED, pb.TRAINING_JOB_STATE_FAILED, pb.TRAINING_JOB_STATE_CANCELLED}


def kills(folder: Path, options: Options) -> Iterator[Figure]:
    """In each of 30 jobs the worker is killed at a random moment, then the service; and what one kill costs."""
    num_jobs, moments = 1 if options.quick else 30, random.Random(0)
    photos = noisy(folder / "photos", 240, 64)
    with training(folder / "home", **_LEASE) as service:
        publish_base(service.client, "base", small("squeezenet1_1", 64))
        service.client.upload_dataset("photos", photos)
        undisturbed = service.job("photos", _RECIPE).check()
        ran = _run_seconds(undisturbed)
        weights = _weights(service, undisturbed)
        jobs = [_killed(service, sorted(moments.uniform(0, ran) for _ in range(2))) for _ in range(num_jobs)]
        num_equal = sum(each.job.state == SUCCEEDED and _weights(service, each) == weights for each in jobs)
    yield Figure("job that nobody disturbs", ran, "s")
    yield Figure(f"kills of worker and service, jobs of {num_jobs} that end SUCCEEDED", _num_succeeded(jobs), "")
    yield Figure("… of them with the weights of the undisturbed one", num_equal, "", f">= {num_jobs}")
    yield Figure("… attempts a job, mean", sum(each.job.attempt_count for each in jobs) / num_jobs, "")
    yield from _lost(folder / "lost", photos, options)


def _killed(service: Training, moments: list[float]) -> Job:
    """Run a job whose worker is killed at the first moment, in seconds of its work, and the service at the second."""
    job = _queue(service, _RECIPE)
    _await_worker(service, job)
    time.sleep(moments[0])
    _kill_workers(service)
    _await_worker(service, job)
    time.sleep(moments[1] - moments[0])
    service.kill()
    service.start()
    return service.ended(job)


def _lost(folder: Path, photos: Path, options: Options) -> Iterator[Figure]:
    """How much later a job ends for one kill in its middle, all settings being the defaults."""
    recipe = pb.Recipe(full={"epoch_count": 8 if options.quick else 60})
    with training(folder) as service:
        publish_base(service.client, "base", small("squeezenet1_1", 64))
        service.client.upload_dataset("photos", photos)
        usual = _run_seconds(service.job("photos", recipe).check())
        lost = {}
        for victim in ("worker", "service"):
            job = _queue(service, recipe)
            _await_worker(service, job)
            time.sleep(usual * 2 / 3)
            if victim == "worker":
                _kill_workers(service)
            else:
                service.kill()
                service.start()
            lost[victim] = _run_seconds(service.ended(job).check()) - usual
    yield Figure("job with the default settings", usual, "s")
    for victim, seconds in lost.items():
        yield Figure(f"time lost to one kill of the {victim}", seconds, "s", f"<= {max(30.0, usual / 10):.1f}")


def runners(folder: Path, options: Options) -> Iterator[Figure]:
    """Three services share one PostgreSQL and work off a queue, while one of them after the other is killed."""
    num_jobs = 6 if options.quick else 60
    photos = noisy(folder / "photos", 60, 64)
    with ExitStack() as stack:
        url = stack.enter_context(postgres_server(folder / "postgres"))
        settings = {**_LEASE, "database_url": url, "num_threads": 1}
        services = [stack.enter_context(training(folder / "home", f"run-{number}", **settings)) for number in range(3)]
        publish_base(services[0].client, "base", small("squeezenet1_1", 64))
        services[0].client.upload_dataset("photos", photos)
        recipe = pb.Recipe(full={"epoch_count": 2})
        names = [_queue(services[0], recipe, seed, _UNTIRING) for seed in range(num_jobs)]
        outcome = _work_off(services, names)
        versions = [each.name for each in services[0].client.versions("tuned")]
        jobs = [services[0].client.job(name) for name in names]
    yield from _outcome(outcome, jobs, versions)


@dataclass(frozen=True)
class Outcome:
    """How long a queue took, and how many kills there were."""

    seconds: float
    num_kills: int


def _work_off(services: list[Training], names: list[str], pause_seconds: float = 10) -> Outcome:
    """Kill one service every few seconds and start it anew, until all jobs have ended."""
    start, num_kills, waiting = time.monotonic(), 0, set(names)
    while waiting:
        victim = services[num_kills % len(services)]
        next_kill = start + pause_seconds * (num_kills + 1)
        while waiting and time.monotonic() < next_kill:
            waiting = {name for name in waiting if victim.client.job(name).state not in _ENDED}
            time.sleep(_LOOK_SECONDS * 10)
        if waiting:
            victim.kill()
            victim.start()
            num_kills += 1
    return Outcome(time.monotonic() - start, num_kills)


def _outcome(outcome: Outcome, jobs: list[pb.TrainingJob], versions: list[str]) -> Iterator[Figure]:
    num_ended = sum(job.state in _ENDED for job in jobs)
    succeeded = [job for job in jobs if job.state == SUCCEEDED]
    named = Counter(job.version for job in succeeded)
    yield Figure(f"3 runners on one PostgreSQL, {len(jobs)} jobs", outcome.seconds, "s")
    yield Figure("kills of a runner meanwhile", outcome.num_kills, "")
    yield Figure("jobs that ended", num_ended, "", f">= {len(jobs)}")
    yield Figure("… SUCCEEDED", len(succeeded), "", f">= {len(jobs)}")
    twice = len(versions) - len(succeeded) + sum(count - 1 for count in named.values())
    yield Figure("versions without a job of their own", twice, "", "<= 0")


def _queue(service: Training, recipe: pb.Recipe, seed: int = 0, max_failures: int | None = None) -> str:
    job = service.client.finetune(
        "tuned", base="base", dataset="photos", recipe=recipe, seed=seed, max_failures=max_failures
    )
    return job.name


def _await_worker(service: Training, job: str) -> None:
    """Wait until a worker runs, or the job has ended."""
    while not service.workers() and service.client.job(job).state not in _ENDED:
        time.sleep(_LOOK_SECONDS)


def _kill_workers(service: Training) -> None:
    """End the workers that run at once, and wait until they are gone."""
    found = service.workers()
    for process in found:
        os.kill(process, signal.SIGKILL)
    while set(found) & set(service.workers()):
        time.sleep(_LOOK_SECONDS)


def _run_seconds(job: Job) -> float:
    """Return the seconds from the moment a runner first had a job to its end."""
    return (job.job.end_time.ToNanoseconds() - job.job.start_time.ToNanoseconds()) / 1e9


def _weights(service: Training, job: Job) -> list[str]:
    return [stage.digest for stage in service.client.version(job.job.version).stages]


def _num_succeeded(jobs: list[Job]) -> int:
    return sum(each.job.state == SUCCEEDED for each in jobs)
