"""Searches over rows of four numbers, whose driver and trials run in the process of the test."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from maas.model_store.v1 import model_store_pb2
from maas.training.v1 import training_pb2 as pb

from model_store.database.engine import Database
from model_store.registry.jobs import Claim, JobStore
from model_store.registry.searches import SearchStore
from tests.training_service.making import publish_mlp
from tests.training_service.running import RunningService, running_service, settings_of
from training_service.jobs.work_order import WorkOrder
from training_service.jobs.worker import Worker
from training_service.search.driver import SearchDriver
from training_service.settings import TrainingSettings


def rows() -> bytes:
    """Return a table of 90 rows whose label is the sign of a sum."""
    random = np.random.default_rng(0)
    cells = random.normal(size=(90, 4))
    lines = [",".join([*(f"{cell:.4f}" for cell in row), "yes" if row.sum() > 0 else "no"]) for row in cells]
    return "\n".join(["a,b,c,d,label", *lines]).encode()


def dimension(name: str, low: float, high: float) -> pb.Dimension:
    """Return a logarithmic range."""
    return pb.Dimension(name=name, range=pb.NumberRange(low=low, high=high, is_logarithmic=True))


def space(epochs: int = 2) -> list[pb.RecipeSpace]:
    """Return a space of one classic fine-tune, and of learning rates of training from scratch."""
    return [
        pb.RecipeSpace(recipe=pb.Recipe(classic={"epoch_count": 2})),
        pb.RecipeSpace(
            recipe=pb.Recipe(scratch={"epoch_count": epochs}), dimensions=[dimension("learning_rate", 1e-3, 1.0)]
        ),
    ]


@contextmanager
def searching_service(home: Path, *, num_jobs: int) -> Iterator[RunningService]:
    """Run a service with a base for rows of four numbers, and such rows."""
    with running_service(home, num_concurrent_jobs=num_jobs, upkeep_seconds=0) as running:
        publish_mlp(running.store, "mlp")
        running.upload(rows(), "rows", modality="values")
        yield running


def searched(service: RunningService, model: str, search: pb.Search, **job: Any) -> pb.TrainingJob:
    """Queue a search."""
    return service.create(
        model=f"models/{model}", base="models/mlp", dataset="datasets/rows", recipe=None, search=search, **job
    )


def trials(service: RunningService, job: pb.TrainingJob) -> list[pb.TrainingJob]:
    """Return the trials of a search, the first one first."""
    request = pb.ListTrainingJobsRequest(filter=f"trial.search = {job.name}", order_by="create_time")
    return list(service.training.ListTrainingJobs(request).training_jobs)


def versions(service: RunningService, model: str, *, show_deleted: bool = False) -> list[int]:
    """Return the numbers of the versions that a listing shows."""
    request = model_store_pb2.ListModelVersionsRequest(parent=f"models/{model}", show_deleted=show_deleted)
    found = service.registry.ListModelVersions(request).model_versions
    return sorted(int(each.name.rpartition("/")[2]) for each in found)


@dataclass
class Machine:
    """Runs searches and their trials in this process, as runners would."""

    settings: TrainingSettings
    database: Database

    @property
    def jobs(self) -> JobStore:
        """The queue."""
        return JobStore(self.database, lease_seconds=60)

    @property
    def searches(self) -> SearchStore:
        """The searches."""
        return SearchStore(self.database)

    def drive(
        self, *, is_over: Callable[[], bool] = lambda: False, clock: Callable[[], float] = time.monotonic
    ) -> Claim:
        """Claim a search, drive it in a thread, and run its trials here until it has ended, or should be stopped."""
        claim = self.jobs.claim("driver", searches=True)
        assert claim is not None
        stopping = threading.Event()
        driver = SearchDriver(WorkOrder(claim, self.settings), self.database, stopping, clock=clock)
        thread = threading.Thread(target=driver.run, name="driver")
        thread.start()
        try:
            while thread.is_alive() and not is_over():
                if not self.run_trial():
                    thread.join(0.01)
        finally:
            stopping.set()
            thread.join()
        return claim

    def run_trial(self) -> bool:
        """Run the next job of the queue to its end; say whether there was one."""
        claim = self.jobs.claim("worker")
        if claim is None:
            return False
        Worker(WorkOrder(claim, self.settings), self.database, threading.Event()).run()
        return True


@contextmanager
def machine(home: Path) -> Iterator[Machine]:
    """Open the store of a service beside it."""
    settings = settings_of(home, num_concurrent_jobs=1, poll_seconds=0.01)
    with closing(settings.open_database()) as database:
        yield Machine(settings, database)
