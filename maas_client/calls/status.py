"""One look at everything: both services' health, what is served, and the jobs that have not ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from maas.inference.v1 import inference_pb2
from maas.training.v1 import training_pb2

from maas_client.calls.jobs import JobCalls
from maas_client.calls.predictions import PredictionCalls
from maas_client.errors import Unavailable, Unimplemented
from maas_client.wire.health import why_not_serving

_TIMEOUT_SECONDS = 3.0
_UNENDED = "state != SUCCEEDED AND state != FAILED AND state != CANCELLED"
T = TypeVar("T")


@dataclass(frozen=True)
class ServiceHealth:
    """Where a service is, and why it does not serve; an empty reason where it does."""

    service: str
    address: str
    reason: str

    @property
    def is_serving(self) -> bool:
        """Whether it reports SERVING."""
        return not self.reason


@dataclass(frozen=True)
class Status:
    """Both services, what is served of each model, and the jobs that have not ended, newest first.

    Of a service that cannot be reached nothing is listed.
    """

    services: tuple[ServiceHealth, ...]
    served_models: tuple[inference_pb2.ServedModel, ...]
    jobs: tuple[training_pb2.TrainingJob, ...]

    @property
    def is_serving(self) -> bool:
        """Whether both services report SERVING."""
        return all(each.is_serving for each in self.services)


class StatusCalls(JobCalls, PredictionCalls):
    """One look at everything."""

    def status(self, *, timeout: float = _TIMEOUT_SECONDS) -> Status:
        """Return how both services are, waiting up to `timeout` seconds for each one's health."""
        found = tuple(
            ServiceHealth(name, address, why_not_serving(address, timeout_seconds=timeout))
            for name, address in self.settings.addresses.items()
        )
        return Status(found, tuple(_those(self.served_models)), tuple(_those(partial(self.jobs, filter=_UNENDED))))


def _those(listed: Callable[[], Iterator[T]]) -> Iterator[T]:
    """Yield what is listed; nothing where the service cannot be reached, or another one answers."""
    try:
        yield from listed()
    except (Unavailable, Unimplemented):
        return
