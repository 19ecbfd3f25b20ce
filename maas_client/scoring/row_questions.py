"""The rows of a table as examples of the version that is asked, one message each."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from maas.inference.v1.inference_pb2 import Example

from maas_client.calls.connection import Connection
from maas_client.files.row_blocks import open_table
from maas_client.files.tables import Unusable, column_names
from maas_client.modalities import ROWS
from maas_client.modalities.columns import Filled
from maas_client.scoring.inputs import Signature, fault_of
from maas_client.scoring.scorer import signature_of
from maas_client.transfers.predicting import Question
from maas_client.transfers.questions import number_questions

_AT_ONCE = 256


def row_questions(client: Connection, model: str, columns: Sequence[str]) -> Callable[[Path], Iterator[Question]]:
    """Return what reads a table for a model; the version is asked what it takes when the first table is read."""

    def read(path: Path) -> Iterator[Question]:
        signature = signature_of(client, model)
        if signature.modality not in ROWS:
            names = column_names(path) if path.is_file() else []
            return number_questions(path, signature.chosen(names, columns))
        return _questions(signature, path, columns)

    return read


def _questions(signature: Signature, path: Path, columns: Sequence[str]) -> Iterator[Question]:
    try:
        with open_table(path, sys.stdin.buffer) as table:
            filled = signature.filled(table.columns, columns)
            for block in table.blocks(_AT_ONCE):
                for line, row in zip(block.lines, block.rows, strict=True):
                    read = partial(_example, signature.modality, filled, table.columns, row)
                    yield Question(f"{path}:{line}", read)
    except Unusable as error:
        yield Question(str(path), partial(_refuse, str(error)))


def _example(modality: str, filled: Sequence[Filled], columns: Sequence[str], row: Sequence[str]) -> Example:
    if fault := fault_of(filled, columns, row):
        raise Unusable(fault)
    return ROWS[modality](filled, row)


def _refuse(why: str) -> Example:
    raise Unusable(why)
