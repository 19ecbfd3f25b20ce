"""The protos say the same of a field to people, in its comment, and to programs, in its annotations."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from google.api import field_behavior_pb2, resource_pb2
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet

ROOT = Path(__file__).parent.parent
BEHAVIOURS = {
    "Required": field_behavior_pb2.REQUIRED,
    "Optional": field_behavior_pb2.OPTIONAL,
    "Output only": field_behavior_pb2.OUTPUT_ONLY,
    "Identifier": field_behavior_pb2.IDENTIFIER,
}
JOBS = (
    "Recipe", "OptimizerSpec", "ScheduleSpec", "AugmentationSpec", "TrainingJob", "Promote", "Promotion", "Progress",
    "Evaluat", "Report", "GetReport", "CreateTrainingJob", "GetTrainingJob", "ListTrainingJobs", "CancelTrainingJob",
    "PauseTrainingJob", "ResumeTrainingJob", "RetryTrainingJob", "WatchTrainingJob",
)  # fmt: skip
RESOURCES = {"maas/Model", "maas/ModelVersion", "maas/Alias", "maas/Dataset", "maas/TrainingJob", "*"}


@dataclass(frozen=True)
class Field:
    """A field of a message, and its comment."""

    message: str
    field: FieldDescriptorProto
    comment: str

    def __str__(self) -> str:
        return f"{self.message}.{self.field.name}"

    @property
    def told(self) -> int | None:
        """The behaviour that its comment begins with."""
        return next((number for word, number in BEHAVIOURS.items() if self.comment.startswith(f"{word}.")), None)

    @property
    def annotated(self) -> list[int]:
        """The behaviours that it is annotated with."""
        return list(self.field.options.Extensions[field_behavior_pb2.field_behavior])


@pytest.fixture(scope="module")
def fields(tmp_path_factory: pytest.TempPathFactory) -> list[Field]:
    """Every field of our own protos, as buf reads them: without a network."""
    path = tmp_path_factory.mktemp("protos") / "all.binpb"
    buf = Path(sys.executable).parent / "buf"
    subprocess.run([buf, "build", ROOT / "protos", "-o", path, "--as-file-descriptor-set"], check=True)
    files = FileDescriptorSet.FromString(path.read_bytes()).file
    ours = [file for file in files if file.package.startswith("maas.")]
    return [each for file in ours for index in range(len(file.message_type)) for each in _fields(file, [4, index])]


def _fields(file: FileDescriptorProto, path: list[int]) -> Iterator[Field]:
    """Yield the fields of the message at a path of the file, and of those in it; 2 and 3 are the numbers of these."""
    message: DescriptorProto = file.message_type[path[1]]
    name = f"{file.package}.{message.name}"
    for index in path[3::2]:
        message = message.nested_type[index]
        name += f".{message.name}"
    comments = {tuple(each.path): each.leading_comments.strip() for each in file.source_code_info.location}
    for index, field in enumerate(message.field):
        yield Field(name, field, comments.get((*path, 2, index), ""))
    for index in range(len(message.nested_type)):
        yield from _fields(file, [*path, 3, index])


def test_annotations_agree_with_comments(fields: list[Field]) -> None:
    """Where a field has one."""
    annotated = [each for each in fields if each.annotated]
    assert len(annotated) > 100
    assert [str(each) for each in annotated if each.annotated != [each.told]] == []


def test_every_field_about_jobs_is_annotated(fields: list[Field]) -> None:
    """But for those of a oneof, of which one is set."""
    begins = tuple(f"maas.training.v1.{name}" for name in JOBS)
    about_jobs = [each for each in fields if each.message.startswith(begins)]
    assert len(about_jobs) > 150
    missing = [str(each) for each in about_jobs if each.told is not None and not each.annotated]
    untold = [str(each) for each in about_jobs if each.told is None and not each.field.HasField("oneof_index")]
    assert (missing, untold) == ([], [])


def test_references_are_to_known_resources(fields: list[Field]) -> None:
    """Of the types that CONTRIBUTING.md lists; every job's name is one."""
    references = {str(each): each.field.options.Extensions[resource_pb2.resource_reference].type for each in fields}
    assert {each for each in references.values() if each} <= RESOURCES
    assert references["maas.training.v1.TrainingJob.alias"] == "maas/Alias"
    for request in ("Get", "Cancel", "Pause", "Resume", "Retry", "Watch"):
        assert references[f"maas.training.v1.{request}TrainingJobRequest.name"] == "maas/TrainingJob"
