"""Numbers in requests: each that its field cannot hold is refused by name, before anything is done."""

from __future__ import annotations

import math
from collections.abc import Iterator

import grpc
import pytest
from google.api import field_behavior_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from maas.training.v1 import training_pb2 as pb

from grpc_runtime.leaf_fields import leaf_fields
from tests.training_service.making import photos, publish_base, tar_of
from tests.training_service.running import RunningService, refused, running_service
from training_service.recipes.recipe import DEFAULTS

INVALID = grpc.StatusCode.INVALID_ARGUMENT
Recipe = pb.Recipe
NUMBERS = {
    FieldDescriptor.CPPTYPE_DOUBLE: (math.nan, math.inf, -math.inf),
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63),),
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """One service for all the requests that it refuses: they leave nothing behind."""
    with running_service(tmp_path_factory.mktemp("home"), num_concurrent_jobs=0) as running:
        publish_base(running.store)
        running.upload(tar_of(photos()))
        yield running


def numbers(message: type[Message], *, but: frozenset[str] = frozenset()) -> list[tuple[str, float]]:
    """Return every field of a message that a caller may give, with each number that it cannot hold."""
    return [
        (field.name, value)
        for field in message.DESCRIPTOR.fields
        if not field.is_repeated and field.name not in but
        for value in NUMBERS.get(field.cpp_type, ())
    ]


OUTPUT_ONLY = frozenset(
    field.name
    for field in pb.TrainingJob.DESCRIPTOR.fields
    if field_behavior_pb2.OUTPUT_ONLY in field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
)


def numbers_of_recipes() -> Iterator[tuple[str, str, float]]:
    """Yield every hyperparameter of every recipe, with each number that it cannot hold."""
    for name in DEFAULTS:
        for key, leaf in leaf_fields(type(getattr(Recipe(), name))).items():
            for value in NUMBERS.get(leaf.field.cpp_type, ()) if leaf.field is not None else ():
                yield name, key, value


@pytest.mark.parametrize(("name", "key", "value"), list(numbers_of_recipes()))
def test_every_number_of_a_recipe_is_checked(service: RunningService, name: str, key: str, value: float) -> None:
    """The violation names the field where it lies; nothing is queued."""
    recipe = Recipe()
    settings = getattr(recipe, name)
    leaf = leaf_fields(type(settings))[key]
    leaf.write(settings, value)
    with refused(INVALID, fields=[".".join(("training_job.recipe", name, *leaf.path))]):
        service.create(recipe=recipe)


@pytest.mark.parametrize(("field", "value"), numbers(pb.TrainingJob, but=OUTPUT_ONLY))
def test_every_number_of_a_job_is_checked(service: RunningService, field: str, value: float) -> None:
    """A negative seed too."""
    with refused(INVALID, fields=[f"training_job.{field}"]):
        service.create(**{field: value})


@pytest.mark.parametrize(("field", "value"), numbers(pb.Promote))
def test_every_number_of_a_gate_is_checked(service: RunningService, field: str, value: float) -> None:
    """As are those of all else."""
    with refused(INVALID, fields=[f"training_job.promote.{field}"]):
        service.create(promote=pb.Promote(alias="models/flowers/aliases/production", **{field: value}))


@pytest.mark.parametrize(("field", "value"), numbers(pb.SplitSpec))
def test_every_number_of_a_split_is_checked(service: RunningService, field: str, value: float) -> None:
    """Before the archive is read."""
    with refused(INVALID, fields=[f"split.{field}"]):
        service.upload(tar_of(photos()), split=pb.SplitSpec(**{field: value}))


def test_the_largest_seed_is_taken(service: RunningService) -> None:
    """It is a number as any other."""
    assert service.create(seed=2**63 - 1).seed == 2**63 - 1
