"""Which examples need a base, as the service says before there is a dataset."""

from __future__ import annotations

import grpc
import pytest
from maas.training.v1 import training_pb2 as pb

from tests.training_service.running import RunningService, refused

Recipe = pb.Recipe
INVALID = grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("modality", "recipe", "needs_base"),
    [
        ("image", Recipe(), True),
        ("text", Recipe(full={}), True),
        ("table", Recipe(), False),
        ("values", Recipe(full={}), False),
        ("audio", Recipe(full={}), True),
        ("audio", Recipe(scratch={}), False),
    ],
)
def test_the_service_says_what_needs_no_base(
    ready_service: RunningService,
    modality: str,
    recipe: Recipe,
    needs_base: bool,  # noqa: FBT001  a parameter of the test
) -> None:
    """By modality and recipe."""
    job = pb.TrainingJob(model="models/new", recipe=recipe)
    request = pb.CreateTrainingJobRequest(training_job=job, validate_only=True, modality=modality)
    if needs_base:
        with refused(INVALID, fields=["training_job.base"]):
            ready_service.training.CreateTrainingJob(request)
    else:
        assert ready_service.training.CreateTrainingJob(request).base == ""


def test_a_modality_that_is_not_known_is_named(ready_service: RunningService) -> None:
    """With those that are."""
    request = pb.CreateTrainingJobRequest(
        training_job=pb.TrainingJob(model="models/new"), validate_only=True, modality="smell"
    )
    with refused(INVALID, fields=["modality"], text="must be one of image, values, audio, text, table, not 'smell'"):
        ready_service.training.CreateTrainingJob(request)
