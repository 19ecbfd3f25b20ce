"""What a version takes and gives in the Open Inference Protocol, and the tensors that rows of a table fill."""

from __future__ import annotations

import json
import math
import sys
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter

from maas.open_inference.v2 import open_inference_pb2 as pb

from maas_client.files.blocks import LineRows
from maas_client.files.tables import Unusable, is_number
from maas_client.modalities import COLUMNS
from maas_client.modalities.columns import Filled

Rows = Sequence[Sequence[str]]
_MISSING = frozenset({"", "NA", "N/A", "n/a", "#N/A", "<NA>", "NULL", "null", "None", "none", "NaT", "nil"})
"""Texts of a missing number beside NaN, as the training service reads them."""


@dataclass(frozen=True)
class Signature:
    """One version: its name, its task with the name of each output, its inputs, and the most rows of a request.

    `columns` are the names of the elements of its input, where it knows them.
    """

    version: str
    model_id: str
    number: str
    modality: str
    task: str
    names: tuple[str, ...]
    inputs: tuple[pb.ModelInput, ...]
    max_rows: int
    columns: tuple[str, ...] = ()

    @classmethod
    def of(cls, config: pb.ModelConfig) -> Signature:
        """Read a version's description; raise Unusable for a backbone only."""
        texts = {key: each.string_value for key, each in config.parameters.items()}
        if not texts["task"]:
            raise Unusable(f"{texts['version']} is a backbone without a task: fine-tune it first")
        return cls(
            version=texts["version"],
            model_id=config.name,
            number=texts["version"].rsplit("/", 1)[-1],
            modality=texts["modality"],
            task=texts["task"],
            names=tuple(json.loads(texts["outputs"])),
            inputs=tuple(config.input),
            max_rows=config.max_batch_size,
            columns=tuple(json.loads(texts.get("columns", "[]"))),
        )

    def filled(self, columns: Sequence[str], chosen: Sequence[str]) -> Sequence[Filled]:
        """Return each input with the places of the columns that fill it; raise Unusable where they do not fit."""
        if self.modality not in COLUMNS:
            raise Unusable(f"{self.version} takes files, not rows of a table: name files, or a folder that has some")
        return COLUMNS[self.modality](self.inputs, columns, self.chosen(columns, chosen))

    def chosen(self, columns: Sequence[str], asked: Sequence[str]) -> Sequence[str]:
        """Return the columns to send: those asked for, else those of the version; none where a table names none."""
        return asked or (() if all(map(is_number, columns)) else self.columns)

    def request(self, filled: Sequence[Filled], rows: Rows) -> pb.ModelInferRequest:
        """Return the request for some rows; raise Unusable for a cell that is no number, and a row without a cell."""
        request = pb.ModelInferRequest(model_name=self.model_id, model_version=self.number)
        request.outputs.add(name="VALUES" if self.task == "regression" else "SCORES")
        for each in filled:
            request.inputs.add(name=each.name, datatype=each.datatype, shape=(len(rows), *each.shape))
            request.raw_input_contents.append(_ENCODERS[each.datatype](each, rows))
        return request


def numbers_of(response: pb.ModelInferResponse) -> Sequence[Sequence[float]]:
    """Return the numbers of the one output, a sequence for each row."""
    values = _little(array("f", response.raw_output_contents[0])).tolist()
    width = len(values) // response.outputs[0].shape[0]
    return [values[start : start + width] for start in range(0, len(values), width)]


def fault_of(filled: Sequence[Filled], columns: Sequence[str], row: Sequence[str]) -> str:
    """Return why a row cannot be sent; empty where it can."""
    for each in filled:
        for place in each.places:
            if place >= len(row):
                return f"has no cell in the column {columns[place]!r}"
            if each.datatype == "FP32" and not _is_number(row[place], may_be_missing=each.may_be_missing):
                return f"must have a number, not {row[place][:200]!r}, in the column {columns[place]!r}"
    return ""


def _floats(filled: Filled, rows: Rows) -> bytes:
    if isinstance(rows, LineRows) and (numbers := rows.numbers(filled.places)) is not None:
        return numbers.astype("<f4", copy=False).tobytes()
    try:
        values = array("f", list(map(float, _flat(filled.places, rows))))
    except (ValueError, IndexError):
        values = array("f", (_number(row, place, filled) for row in rows for place in filled.places))
    return _little(values).tobytes()


def _flat(places: Sequence[int], rows: Rows) -> Iterable[str]:
    """Return the cells at some places of each row, one row behind the other."""
    if len(places) == 1:
        return map(itemgetter(*places), rows)
    if places == tuple(range(len(places))) and all(len(row) == len(places) for row in rows):
        return chain.from_iterable(rows)
    return chain.from_iterable(map(itemgetter(*places), rows))


def _texts(filled: Filled, rows: Rows) -> bytes:
    try:
        texts = [row[filled.places[0]].encode() for row in rows]
    except (IndexError, UnicodeEncodeError) as error:
        raise Unusable("has a cell that cannot be sent") from error
    return b"".join(chain.from_iterable((len(text).to_bytes(4, "little"), text) for text in texts))


def _number(row: Sequence[str], place: int, filled: Filled) -> float:
    if place >= len(row) or not _is_number(row[place], may_be_missing=filled.may_be_missing):
        raise Unusable("has a cell that cannot be sent")
    return math.nan if row[place].strip() in _MISSING else float(row[place])


def _is_number(cell: str, *, may_be_missing: bool) -> bool:
    try:
        number = float(cell)
    except ValueError:
        return may_be_missing and cell.strip() in _MISSING
    return math.isfinite(number) or (may_be_missing and math.isnan(number))


def _little(values: array[float]) -> array[float]:
    if sys.byteorder == "big":
        values.byteswap()
    return values


_ENCODERS: Mapping[str, Callable[[Filled, Rows], bytes]] = {"FP32": _floats, "BYTES": _texts}
