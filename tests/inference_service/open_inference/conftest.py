"""A service that speaks the Open Inference Protocol, one for each test module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.inference_service.inferring import (
    OpenService,
    serving_models,
)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenService]:
    """A service with a classifier, a backbone and a model of numbers."""
    with serving_models(tmp_path_factory.mktemp("home")) as serving:
        yield serving
