"""An inference request: its target, the conversion of tensors to rows, and of rows to tensors."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from inference_service.errors import NotServed
from inference_service.execution.work import Answer
from inference_service.open_inference.shared_memory import Slice
from inference_service.open_inference.tensors import InputTensor, floats, int64s, joined, texts, uint8s
from inference_service.pipeline.examples import Examples
from inference_service.pipeline.signature import ANY, BYTES, OutputForm, TensorForm, inputs_of
from model_store.errors import InvalidExample, InvalidInput
from model_store.modalities import InputSpec, Rows
from model_store.modalities.spec import Array
from model_store.modalities.spec import Numbers as Values
from model_store.names import AliasName, ModelName, VersionName, check_id, parse_version
from model_store.texts import quoted


@dataclass(frozen=True)
class WantedOutput:
    """One output that is asked for: a tensor, which may go into `memory`, or the best `num_classes` of each row."""

    name: str
    place: str
    num_classes: int = 0
    memory: Slice | None = None


@dataclass(frozen=True)
class InferRequest:
    """A request; `timeout_us` is 0 for none, `priority` 0 for the default, and no outputs stand for all.

    `marks_final` asks that its answer in a stream is marked as the final one. Requests with equal `routing_key` are
    answered by the same version of an alias.
    """

    model: str
    version: str
    inputs: tuple[InputTensor, ...]
    outputs: tuple[WantedOutput, ...]
    timeout_us: int = 0
    priority: int = 0
    marks_final: bool = False
    routing_key: str = ""


@dataclass(frozen=True)
class OutputTensor:
    """One output, its elements raw; `memory` is where they were asked to be."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: bytes
    memory: Slice | None = None


@lru_cache(maxsize=4096)
def read_target(model: str, version: str, field: str) -> ModelName | AliasName | VersionName:
    """Return the target of a model name and a version; raise NotServed for names that no target can have.

    The version is a number, an alias, or empty for the model's own name.
    """
    if not model:
        raise InvalidInput.of(field, "must be the id of a model")
    try:
        model_id = check_id(model, "the model")
        if not version:
            return ModelName(model_id)
        if version.isdecimal():
            return parse_version(f"models/{model_id}/versions/{version}", "the version")
        return AliasName(model_id, check_id(version, "the version, which is a number or an alias,"))
    except InvalidInput as error:
        raise NotServed(f"there is no such model or version here: {error}") from error


def read_input(spec: InputSpec, inputs: Sequence[InputTensor], max_rows: int) -> Examples | Rows:
    """Return a request's inputs as rows, or as examples that must be prepared first.

    Raises InvalidInput with the name of the input, the expected tensor and the tensor found.
    """
    forms = inputs_of(spec)
    _check_names(forms, [each.name for each in inputs])
    for tensor in inputs:
        _check_form(tensor, forms[tensor.name], max_rows)
    if len({tensor.shape[0] for tensor in inputs}) > 1:
        raise InvalidInput.of("inputs", f"must have as many rows each, not {[each.shape[0] for each in inputs]}")
    try:
        given = spec.read_tensors({tensor.name: _READERS[forms[tensor.name].datatype](tensor) for tensor in inputs})
    except InvalidExample as error:
        raise InvalidInput.of(inputs[0].place, f"{', '.join(each.name for each in inputs)}: {error}") from error
    return given if isinstance(given, Rows) else Examples(given, _names_of(inputs[0]))


def read_outputs(names: Collection[str], wanted: Sequence[WantedOutput]) -> tuple[WantedOutput, ...]:
    """Return the requested outputs, or all; raise InvalidInput for an output that this version does not have."""
    if not wanted:
        return tuple(WantedOutput(name, "outputs") for name in names)
    for position, each in enumerate(wanted):
        if each.name not in names:
            raise InvalidInput.of(each.place, f"must be one of {', '.join(names)}, not {quoted(each.name)}")
        if each.name in {other.name for other in wanted[:position]}:
            raise InvalidInput.of(each.place, f"asks for {each.name} a second time")
    return tuple(wanted)


def check_memory(forms: Mapping[str, OutputForm], wanted: Sequence[WantedOutput], num_rows: int) -> None:
    """Raise InvalidInput where an output would not fit into the shared memory that should take it."""
    for each in wanted:
        size = num_rows * forms[each.name].size * 4
        if each.memory is not None and each.memory.byte_size < size:
            raise InvalidInput.of(each.place, f"{each.name} has {size} bytes, not {each.memory.byte_size}")


def check_answer(asked: InferRequest, rows: Examples | Rows, answer: Answer) -> None:
    """Raise InvalidInput for numbers so large that the answer is not finite."""
    if not isinstance(rows, Rows) or not any(each.dtype == np.float32 for each in rows.arrays.values()):
        return
    for values in answer.values():
        if not np.isfinite(values).all():
            rule = f"row {_first_odd(values)} has numbers so large that what the model makes of them is not finite"
            raise asked.inputs[0].refused(rule)


def write_output(wanted: WantedOutput, values: Values, names: Sequence[str]) -> OutputTensor:
    """Return a requested output of float32 values [n, size]; `names` are the names of the columns, if any."""
    if not wanted.num_classes:
        return OutputTensor(
            wanted.name, "FP32", values.shape, values.astype("<f4", copy=False).tobytes(), wanted.memory
        )
    best = np.argsort(-values, axis=1, kind="stable")[:, : wanted.num_classes]
    classes = [_class(row[index], index, names) for row, indices in zip(values, best, strict=True) for index in indices]
    return OutputTensor(wanted.name, BYTES, best.shape, joined(classes))


def _check_names(forms: Mapping[str, TensorForm], names: Sequence[str]) -> None:
    """Raise InvalidInput where these are not all inputs of one alternative, each once."""
    alternatives: dict[int, list[str]] = {}
    for form in forms.values():
        alternatives.setdefault(form.alternative, []).append(form.name)
    if sorted(names) not in map(sorted, alternatives.values()):
        wanted = [" and ".join(each) for each in alternatives.values()]
        rule = f"exactly one of {', '.join(wanted)}" if len(wanted) > 1 else wanted[0]
        raise InvalidInput.of("inputs", f"must be {rule}, not {quoted(', '.join(names)) if names else 'none'}")


def _class(value: np.float32, index: int, names: Sequence[str]) -> bytes:
    # str of a float32 is the shortest text that reads back as the same number.
    return ":".join([str(value), str(index), *names[index : index + 1]]).encode()


def _check_form(tensor: InputTensor, form: TensorForm, max_rows: int) -> None:
    if tensor.datatype not in form.datatypes:
        raise tensor.refused(f"must be {' or '.join(form.datatypes)}, not {quoted(tensor.datatype)}")
    num_rows, *row = tensor.shape or (0,)
    if not form.shape and row == [1]:
        row = []  # as Triton's clients send it
    fits = len(row) == len(form.shape) and all(
        wanted == found or (wanted == ANY and found > 0) for wanted, found in zip(form.shape, row, strict=True)
    )
    if not fits or not 1 <= num_rows <= max_rows:
        shape = ", ".join(["n", *("any" if size == ANY else str(size) for size in form.shape)])
        found = quoted(str(list(tensor.shape)))
        raise tensor.refused(f"must have the shape [{shape}] with n of 1 to {max_rows}, not {found}")


def _first_odd(rows: Values) -> int:
    """Return which is the first row with a number that is not finite."""
    return int(np.isfinite(rows).reshape(len(rows), -1).all(axis=1).argmin())


_READERS: dict[str, Callable[[InputTensor], Array]] = {
    "FP32": floats,
    "UINT8": uint8s,
    "INT64": int64s,
    BYTES: texts,
}


def _names_of(tensor: InputTensor) -> Callable[[int], str]:
    return lambda index: f"{tensor.place}.{tensor.name}[{index}]"
