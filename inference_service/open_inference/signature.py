"""What tensors a version takes and gives, their names, types and shapes, and what is the same for all versions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from types import MappingProxyType

from inference_service.execution.work import Output
from inference_service.models.resident import ResidentVersion
from inference_service.open_inference.tensors import BYTES
from model_store.modalities import InputSpec

ANY = -1
_DATATYPES = {"float32": "FP32", "uint8": "UINT8", "bytes": BYTES}
_ALSO = {"float32": ("FP16", "BF16")}


class Layout(Enum):
    """What the dimensions of a row mean."""

    NONE = ""
    HEIGHT_WIDTH_CHANNELS = "nhwc"
    CHANNELS_HEIGHT_WIDTH = "nchw"


@dataclass(frozen=True)
class TensorForm:
    """One input or output; `shape` is that of one row, where ANY is a size that requests choose.

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
class ServerLimits:
    """What is the same for all models of a server."""

    max_rows_per_request: int
    max_batch_cost: int
    max_queue_cost: int
    has_gpu: bool
    has_response_cache: bool


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


def outputs_of(version: ResidentVersion) -> Mapping[str, TensorForm]:
    """Return the outputs by name, which is that of an Output; a request chooses any."""
    return _outputs(len(version.names), version.embedding_size)


@lru_cache(maxsize=1024)
def _outputs(num_outputs: int, embedding_size: int) -> Mapping[str, TensorForm]:
    sizes = {Output.SCORES: num_outputs, Output.LOGITS: num_outputs} if num_outputs else {}
    sizes[Output.EMBEDDING] = embedding_size
    return _by_name(*(TensorForm(output.name, "FP32", (size,)) for output, size in sizes.items()))


def _by_name(*forms: TensorForm) -> Mapping[str, TensorForm]:
    return MappingProxyType({form.name: form for form in forms})
