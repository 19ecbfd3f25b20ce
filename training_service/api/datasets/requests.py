"""The options of a dataset in a request: modality, task, and uses of columns."""

from __future__ import annotations

from dataclasses import replace

from maas.model_store.v1 import model_store_pb2
from maas.training.v1 import training_pb2 as pb

from model_store.errors import InvalidInput
from model_store.tasks import TASKS
from model_store.texts import quoted
from training_service.datasets.columns import ColumnRole, ColumnType
from training_service.datasets.files.formats import Format
from training_service.datasets.files.samples import sample_of_files, sample_of_table
from training_service.datasets.ingest import Parent
from training_service.datasets.modality import Modality
from training_service.datasets.reading import Asked, Received
from training_service.modalities import MODALITIES

Wanted = pb.UploadDatasetRequest.Header | pb.RegisterDatasetRequest
"""The options of a dataset."""


def read_asked(wanted: Wanted, parent: Parent | None) -> Asked:
    """Return the options; raise InvalidInput for impossible ones, and for options that do not fit the parent."""
    task = _task(wanted)
    if parent is not None and task not in {"", parent.manifest.task.kind}:
        raise InvalidInput.of("task", f"must be {parent.manifest.task.kind}, that of {parent.name}, not {task}")
    return Asked(task, tuple(_roles(wanted.schema)), tuple(_types(wanted.schema)))


def check_modality(wanted: Wanted, parent: Parent | None) -> str:
    """Return the requested modality, or the parent's; None if the form of the upload decides.

    Raises InvalidInput for an unknown modality, and for another one than the parent's.
    """
    asked = wanted.modality
    if asked and asked not in MODALITIES:
        raise InvalidInput.of("modality", f"must be one of {', '.join(MODALITIES)}, not {quoted(asked)}")
    if parent is None:
        return asked
    own = parent.manifest.modality
    if asked and asked != own:
        raise InvalidInput.of("modality", f"must be {own}, that of {parent.name}, not {asked}")
    return own


def modality_of(kind: str, received: Received, asked: Asked) -> tuple[Modality, Received]:
    """Return the modality of this kind, and the upload to read from its start.

    By default it is the first one that takes the beginning of the upload for its own, else the first one of its format.
    """
    if kind:
        return MODALITIES[kind], received
    if received.format is Format.ARCHIVE:
        sample, files = sample_of_files(received.files)
        received = replace(received, files=files)
    else:
        sample = sample_of_table(received.table, received.format)
    fitting = [each for each in MODALITIES.values() if received.format in each.FORMATS]
    return next((each for each in fitting if each.takes(sample, asked)), fitting[0]), received


def _task(wanted: Wanted) -> str:
    if not wanted.task:
        return ""
    known = {model_store_pb2.Task.Value(f"TASK_{kind.upper()}"): kind for kind in TASKS}
    if wanted.task not in known:
        raise InvalidInput.of("task", f"must be one of {', '.join(known.values())}")
    return known[wanted.task]


def _roles(schema: pb.Schema) -> list[tuple[str, ColumnRole]]:
    """Return the columns whose role is not to be found out."""
    roles = {number: role for role in ColumnRole for number in [pb.ColumnRole.Value(f"COLUMN_ROLE_{role.upper()}")]}
    for number, column in enumerate(schema.columns):
        if column.role and column.role not in roles:
            raise InvalidInput.of(f"schema.columns[{number}].role", "is unknown")
    return [(column.name, roles[column.role]) for column in schema.columns if column.role]


def _types(schema: pb.Schema) -> list[tuple[str, ColumnType]]:
    """Return the columns whose type is not to be found out."""
    types = {number: kind for kind in ColumnType for number in [pb.ColumnType.Value(f"COLUMN_TYPE_{kind.upper()}")]}
    for number, column in enumerate(schema.columns):
        if column.type and column.type not in types:
            raise InvalidInput.of(f"schema.columns[{number}].type", "is unknown")
    return [(column.name, types[column.type]) for column in schema.columns if column.type]
