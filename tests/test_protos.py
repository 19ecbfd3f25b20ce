"""The protos say the same of a field to people, in its comment, and to programs, in its annotations."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from google.api import client_pb2, field_behavior_pb2, resource_pb2
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet

ROOT = Path(__file__).parent.parent
BEHAVIOURS = {
    "Required": field_behavior_pb2.REQUIRED,
    "Optional": field_behavior_pb2.OPTIONAL,
    "Output only": field_behavior_pb2.OUTPUT_ONLY,
    "Identifier": field_behavior_pb2.IDENTIFIER,
}
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
def files(tmp_path_factory: pytest.TempPathFactory) -> list[FileDescriptorProto]:
    """Our own protos, as buf reads them: without a network."""
    path = tmp_path_factory.mktemp("protos") / "all.binpb"
    buf = Path(sys.executable).parent / "buf"
    subprocess.run([buf, "build", ROOT / "protos", "-o", path, "--as-file-descriptor-set"], check=True)
    return [file for file in FileDescriptorSet.FromString(path.read_bytes()).file if file.package.startswith("maas.")]


@pytest.fixture(scope="module")
def fields(files: list[FileDescriptorProto]) -> list[Field]:
    """Every field of them."""
    return [each for file in files for index in range(len(file.message_type)) for each in _fields(file, [4, index])]


def _fields(file: FileDescriptorProto, path: list[int]) -> Iterator[Field]:
    """Yield the fields of the message at a path of the file, and of those in it; 2 and 3 are the numbers of these."""
    message: DescriptorProto = file.message_type[path[1]]
    name = f"{file.package}.{message.name}"
    for index in path[3::2]:
        message = message.nested_type[index]
        name += f".{message.name}"
    comments = {tuple(each.path): each.leading_comments.strip() for each in file.source_code_info.location}
    if message.options.map_entry:
        return
    for index, field in enumerate(message.field):
        yield Field(name, field, comments.get((*path, 2, index), ""))
    for index in range(len(message.nested_type)):
        yield from _fields(file, [*path, 3, index])


def test_every_field_says_what_it_is(fields: list[Field]) -> None:
    """To people and to programs alike, but for those of a oneof, of which one is set."""
    assert len(fields) > 400
    told = [each for each in fields if not each.field.HasField("oneof_index") or each.field.proto3_optional]
    assert [str(each) for each in told if each.told is None] == []
    assert [str(each) for each in fields if each.annotated != ([each.told] if each.told is not None else [])] == []


def test_references_are_to_known_resources(fields: list[Field]) -> None:
    """Of the types that CONTRIBUTING.md lists; every job's name is one."""
    references = {str(each): each.field.options.Extensions[resource_pb2.resource_reference].type for each in fields}
    assert {each for each in references.values() if each} <= RESOURCES
    assert references["maas.training.v1.TrainingJob.alias"] == "maas/Alias"
    for request in ("GetAlias", "SetAlias", "RollBackAlias", "DeleteAlias"):
        assert references[f"maas.model_store.v1.{request}Request.name"] == "maas/Alias"
    for request in ("Get", "Cancel", "Pause", "Resume", "Retry", "Watch"):
        assert references[f"maas.training.v1.{request}TrainingJobRequest.name"] == "maas/TrainingJob"


def test_calls_of_one_message_have_a_signature(files: list[FileDescriptorProto]) -> None:
    """Of fields that their requests have; an empty one is of what a caller may leave out."""
    calls = [(file, call) for file in files for service in file.service for call in service.method]
    assert len(calls) > 40
    wrong = []
    for file, call in calls:
        request = next(each for each in file.message_type if call.input_type == f".{file.package}.{each.name}")
        signatures = list(call.options.Extensions[client_pb2.method_signature])
        names = {name for signature in signatures for name in signature.split(",") if name}
        if call.client_streaming == bool(signatures) or not names <= {field.name for field in request.field}:
            wrong.append(call.name)
    assert wrong == []
