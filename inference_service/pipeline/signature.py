"""The tensors that a version takes and gives: names, types and shapes, as Open Inference has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from types import MappingProxyType

from inference_service.execution.work import Output
from model_store.modalities import InputSpec
from model_store.tasks import Activation, Task

ANY = -1
BYTES = "BYTES"
_DATATYPES = {"float32": "FP32", "uint8": "UINT8", "int64": "INT64", "bytes": BYTES}
_ALSO = {"float32": ("FP16", "BF16")}


class Layout(Enum):
    """The meaning of each dimension of a row."""

    NONE = ""
    HEIGHT_WIDTH_CHANNELS = "nhwc"
    CHANNELS_HEIGHT_WIDTH = "nchw"


@dataclass(frozen=True)
class TensorForm:
    """One input; `shape` is that of one row, where ANY is a size that requests choose.

    `also` are further types that an input may be sent as. A request sends all inputs of one `alternative`.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    layout: Layout = Layout.NONE
    also: tuple[str, ...] = ()
    alternative: int = 0

    @property
    def datatypes(self) -> tuple[str, ...]:
        """Return all types that it may be sent as."""
        return (self.datatype, *self.also)


@dataclass(frozen=True)
class OutputForm:
    """One output: float32 [n, size]."""

    name: str
    output: Output
    size: int


@lru_cache(maxsize=1024)
def inputs_of(spec: InputSpec) -> Mapping[str, TensorForm]:
    """Return the inputs by name, the alternative that needs the least work first."""
    return _by_name(
        *(
            TensorForm(
                each.name,
                _DATATYPES[each.dtype],
                each.shape,
                Layout(each.layout),
                also=_ALSO.get(each.dtype, ()),
                alternative=each.alternative,
            )
            for each in spec.tensors()
        )
    )


def outputs_of(task: Task | None, embedding_size: int) -> Mapping[str, OutputForm]:
    """Return the outputs of a task by name, and the embedding; a request chooses any."""
    if task is None:
        return _outputs(None, 0, embedding_size)
    return _outputs(task.activation, len(task.names), embedding_size)


@lru_cache(maxsize=1024)
def _outputs(activation: Activation | None, size: int, embedding_size: int) -> Mapping[str, OutputForm]:
    found = _OUTPUTS[activation] if activation is not None else {}
    forms = [OutputForm(name, output, size) for name, output in found.items()]
    forms.append(OutputForm("EMBEDDING", Output.EMBEDDING, embedding_size))
    return MappingProxyType({form.name: form for form in forms})


_OUTPUTS: Mapping[Activation, Mapping[str, Output]] = {
    "softmax": {"SCORES": Output.SCORES, "LOGITS": Output.LOGITS},
    "sigmoid": {"SCORES": Output.SCORES, "LOGITS": Output.LOGITS},
    "identity": {"VALUES": Output.SCORES},  # its logits are the same numbers
}


def _by_name(*forms: TensorForm) -> Mapping[str, TensorForm]:
    return MappingProxyType({form.name: form for form in forms})
