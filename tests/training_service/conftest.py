"""Services that the tests of this folder share: one that only answers, and one that trains."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.training_service.making import photos, publish_base, tar_of
from tests.training_service.running import RunningService, running_service


@pytest.fixture
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service of its own that queues jobs and runs none."""
    limits = {"max_archive_bytes": 2_000_000, "max_example_size": {"image": 20_000}, "max_file_bytes": 500_000}
    with running_service(tmp_path_factory.mktemp("home"), num_concurrent_jobs=0, **limits) as running:
        yield running


@pytest.fixture
def ready_service(service: RunningService) -> RunningService:
    """That service with `base` published and `photos` uploaded."""
    publish_base(service.store)
    service.upload(tar_of(photos()))
    return service


@pytest.fixture(scope="module")
def training_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service that runs two jobs at once, with `base` published and `photos` of three labels uploaded."""
    with running_service(tmp_path_factory.mktemp("home"), num_concurrent_jobs=2, lease_seconds=5) as running:
        publish_base(running.store)
        running.upload(tar_of(photos(12, ("blue", "green", "red"))))
        yield running
