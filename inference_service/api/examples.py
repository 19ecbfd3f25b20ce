"""Converts the examples of a request to Python values, which an input spec opens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from google.protobuf import struct_pb2
from maas.inference.v1 import inference_pb2 as pb
from numpy.typing import NDArray

from inference_service.pipeline.examples import Examples
from model_store.errors import InvalidInput, Violation
from model_store.modalities.spec import Numbers
from model_store.texts import quoted

_FLOAT_BYTES = 4


def read_examples(examples: Sequence[pb.Example], max_examples: int) -> Examples:
    """Return the content of each example as a Python value; raise InvalidInput naming each malformed example.

    The input spec of the version checks the modality later.
    """
    if not 1 <= len(examples) <= max_examples:
        raise InvalidInput.of("examples", f"must be 1 to {max_examples} examples, not {len(examples)}")
    contents: list[Any] = []
    violations: list[Violation] = []
    for position, example in enumerate(examples):
        try:
            contents.append(_read(f"examples[{position}]", example))
        except InvalidInput as error:
            violations.extend(error.violations)
    if violations:
        raise InvalidInput(*violations)
    return Examples(contents, lambda position: f"examples[{position}].{examples[position].WhichOneof('content')}")


def _read(place: str, example: pb.Example) -> object:
    kind = example.WhichOneof("content")
    if kind is None:
        raise InvalidInput.of(place, f"must have one of {', '.join(_READERS)}")
    return _READERS[kind](f"{place}.{kind}", getattr(example, kind))


def _read_rgb(place: str, rgb: pb.Pixels) -> NDArray[np.uint8]:
    """Return uint8 [height, width, 3]."""
    for name, edge in (("height", rgb.height), ("width", rgb.width)):
        if edge < 1:
            raise InvalidInput.of(f"{place}.{name}", f"must be at least 1, not {edge}")
    size = rgb.height * rgb.width * 3
    if len(rgb.data) != size:
        rule = f"must have {rgb.height} x {rgb.width} x 3 = {size} bytes, not {len(rgb.data)}"
        raise InvalidInput.of(f"{place}.data", rule)
    return np.frombuffer(rgb.data, np.uint8).reshape(rgb.height, rgb.width, 3)


def _read_row(place: str, row: pb.Row) -> Mapping[str, float | str | bool | None]:
    """Return the cells by column."""
    return {column: _read_cell(f"{place}.cells[{quoted(column)}]", cell) for column, cell in row.cells.items()}


def _read_cell(place: str, cell: struct_pb2.Value) -> float | str | bool | None:
    kind = cell.WhichOneof("kind")
    if kind not in _CELLS:
        raise InvalidInput.of(place, f"must have one of {', '.join(_CELLS)}")
    return None if kind == "null_value" else getattr(cell, kind)


def _read_values(_: str, values: pb.Values) -> Numbers:
    """Return float32 [numbers]."""
    return np.fromiter(values.numbers, np.float32, len(values.numbers))


def _read_samples(place: str, samples: pb.Samples) -> tuple[int, Numbers]:
    """Return the sample rate in hertz, and float32 [samples]."""
    if samples.sample_rate_hertz < 1:
        raise InvalidInput.of(f"{place}.sample_rate_hertz", f"must be at least 1, not {samples.sample_rate_hertz}")
    if len(samples.data) % _FLOAT_BYTES:
        raise InvalidInput.of(f"{place}.data", f"must have 4 bytes a sample, not {len(samples.data)} in all")
    return samples.sample_rate_hertz, np.frombuffer(samples.data, "<f4").astype(np.float32, copy=False)


_CELLS = ("number_value", "string_value", "bool_value", "null_value")
_READERS: Mapping[str, Callable[[str, Any], object]] = {
    "file": lambda _, data: data,
    "pixels": _read_rgb,
    "text": lambda _, text: text,
    "row": _read_row,
    "values": _read_values,
    "samples": _read_samples,
}
