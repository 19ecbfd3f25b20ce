"""Which bases a dataset can be trained from: those that take its examples; the message says what another one takes."""

from __future__ import annotations

import grpc
from maas.training.v1 import training_pb2 as pb

from tests.training_service.making import publish_mlp
from tests.training_service.running import RunningService, refused

INVALID = grpc.StatusCode.INVALID_ARGUMENT


def test_a_base_of_numbers_is_refused(ready_service: RunningService) -> None:
    """A dataset holds images, and an MLP takes none; the message says what it takes."""
    publish_mlp(ready_service.store, "numbers")
    text = "models/numbers/versions/1 takes examples of the modality values, and datasets/photos has those of image"
    with refused(INVALID, text, fields=["training_job.base"]):
        ready_service.create(base="models/numbers")


def test_rows_of_numbers_need_a_base_of_as_many(ready_service: RunningService) -> None:
    """And are not varied: what a recipe does so by default is left out, and what is asked for is refused."""
    publish_mlp(ready_service.store, "numbers")
    for width in (3, 4):
        lines = [",".join([str(number * place) for place in range(width)] + ["xy"[number % 2]]) for number in range(12)]
        columns = ",".join([*(f"c{place}" for place in range(width)), "y"])
        ready_service.upload("\n".join([columns, *lines]).encode(), f"rows-of-{width}")
    with refused(INVALID, "takes rows of 4 numbers, and the dataset has rows of 3", fields=["training_job.base"]):
        ready_service.create(base="models/numbers", dataset="datasets/rows-of-3")
    with refused(INVALID, "takes examples of the modality image", fields=["training_job.base"]):
        ready_service.create(dataset="datasets/rows-of-4")
    job = ready_service.create(base="models/numbers", dataset="datasets/rows-of-4")
    assert job.recipe.linear_probe.augmentation == pb.AUGMENTATION_NONE
    mirrored = pb.Recipe(linear_probe=pb.Recipe.LinearProbe(augmentation=pb.AUGMENTATION_MIRROR))
    with refused(INVALID, "must be one of none for examples of the modality values"):
        ready_service.create(base="models/numbers", dataset="datasets/rows-of-4", recipe=mirrored)
