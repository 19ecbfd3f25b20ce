"""A request to infer and its answer, between the messages of the protocol and the service's own words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from maas.open_inference.v2 import open_inference_pb2 as pb

from grpc_runtime.errors import Refusal
from inference_service.models.resident import ResidentVersion
from inference_service.open_inference.requests import InferRequest, OutputTensor, WantedOutput
from inference_service.open_inference.shared_memory import SharedMemory, Slice
from inference_service.open_inference.tensors import Contents, InputTensor
from model_store.errors import InvalidInput
from model_store.texts import quoted

_WANTS_FINAL, _IS_FINAL = "triton_enable_empty_final_response", "triton_final_response"
_WHOLE_NUMBERS = {"int64_param", "uint64_param"}
_REGION, _BYTE_SIZE, _OFFSET = (f"shared_memory_{each}" for each in ("region", "byte_size", "offset"))
_Parameters = Mapping[str, pb.InferParameter]


def read_request(request: pb.ModelInferRequest, memory: SharedMemory) -> InferRequest:
    """Read a request; raise InvalidInput naming the place that is wrong."""
    return InferRequest(
        model=request.model_name,
        version=request.model_version,
        inputs=tuple(_inputs(request, memory)),
        outputs=tuple(_wanted(index, each, memory) for index, each in enumerate(request.outputs)),
        timeout_us=_whole_number(request.parameters, "timeout", "parameters"),
        priority=_whole_number(request.parameters, "priority", "parameters"),
        routing_key=_text(request.parameters, "routing_key", "parameters"),
        marks_final=_WANTS_FINAL in request.parameters and request.parameters[_WANTS_FINAL].bool_param,
    )


def infer_response(version: ResidentVersion, request_id: str, tensors: Sequence[OutputTensor]) -> pb.ModelInferResponse:
    """Write an answer; an output in shared memory is written there, and its raw contents are empty."""
    response = pb.ModelInferResponse(
        model_name=version.name.model_id, model_version=str(version.name.number), id=request_id
    )
    for each in tensors:
        tensor = response.outputs.add(name=each.name, datatype=each.datatype, shape=each.shape)
        if each.memory is None:
            response.raw_output_contents.append(each.data)
        else:
            each.memory.write(each.data)
            response.raw_output_contents.append(b"")
            _describe_place(tensor, each.memory, len(each.data))
    return response


def streamed(response: pb.ModelInferResponse, *, marks_final: bool) -> pb.ModelStreamInferResponse:
    """Put an answer into a stream; every one is the final one of its request."""
    if marks_final:
        response.parameters[_IS_FINAL].bool_param = True
    return pb.ModelStreamInferResponse(infer_response=response)


def streamed_error(request: pb.ModelInferRequest, told: Refusal) -> pb.ModelStreamInferResponse:
    """Write the error of a request, with its id, as a message of the stream."""
    return pb.ModelStreamInferResponse(
        error_message=f"{told.code.name}: {told.text}", infer_response=pb.ModelInferResponse(id=request.id)
    )


def _inputs(request: pb.ModelInferRequest, memory: SharedMemory) -> Iterator[InputTensor]:
    num_sent = sum(_REGION not in tensor.parameters for tensor in request.inputs)
    if len(request.raw_input_contents) not in {0, num_sent}:
        raise InvalidInput.of(
            "raw_input_contents",
            f"must have one entry for each input that is not in shared memory: {num_sent} entries or none, "
            f"not {len(request.raw_input_contents)}",
        )
    raw = iter(request.raw_input_contents)
    for position, tensor in enumerate(request.inputs):
        place = f"inputs[{position}]"
        found = _slice(tensor.parameters, place, memory)
        source = "shared memory" if found else "raw_input_contents" if request.raw_input_contents else ""
        if source and tensor.HasField("contents"):
            raise InvalidInput.of(place, f"{quoted(tensor.name)} has contents beside {source}: use one of them")
        data = found.read(place) if found else next(raw) if source else _contents(tensor.contents, place)
        yield InputTensor(tensor.name, tensor.datatype, tuple(tensor.shape), data, place)


def _contents(contents: pb.InferTensorContents, place: str) -> Contents:
    lists = contents.ListFields()
    if len(lists) > 1:
        raise InvalidInput.of(place, f"has elements in {' and '.join(field.name for field, _ in lists)}: use one list")
    return Contents(lists[0][0].name, lists[0][1]) if lists else Contents("", ())


def _wanted(
    position: int, output: pb.ModelInferRequest.InferRequestedOutputTensor, memory: SharedMemory
) -> WantedOutput:
    place = f"outputs[{position}]"
    num_classes = _whole_number(output.parameters, "classification", place)
    found = _slice(output.parameters, place, memory)
    if found and num_classes:
        raise InvalidInput.of(place, "cannot have a classification in shared memory: its size is not known before")
    return WantedOutput(output.name, place, num_classes, found)


def _slice(parameters: _Parameters, place: str, memory: SharedMemory) -> Slice | None:
    if _REGION not in parameters:
        if beside := sorted({_BYTE_SIZE, _OFFSET} & set(parameters)):
            raise InvalidInput.of(place, f"has {beside[0]} without {_REGION}")
        return None
    if parameters[_REGION].WhichOneof("parameter_choice") != "string_param":
        raise InvalidInput.of(f"{place}.parameters[{_REGION}]", "must be a string_param")
    if _BYTE_SIZE not in parameters:
        raise InvalidInput.of(place, f"has {_REGION} without {_BYTE_SIZE}")
    offset, byte_size = (_whole_number(parameters, key, place) for key in (_OFFSET, _BYTE_SIZE))
    return memory.slice(parameters[_REGION].string_param, offset, byte_size, place)


def _whole_number(parameters: _Parameters, key: str, place: str) -> int:
    """Return a parameter; 0 without it."""
    if key not in parameters:  # asking a map of messages for a key adds it
        return 0
    kind = parameters[key].WhichOneof("parameter_choice")
    value = getattr(parameters[key], kind) if kind in _WHOLE_NUMBERS else -1
    if value < 0:
        raise InvalidInput.of(f"{place}[{key}]", "must be an int64_param or uint64_param that is not negative")
    return int(value)


def _text(parameters: _Parameters, key: str, place: str) -> str:
    """Return a parameter; empty without it."""
    if key not in parameters:
        return ""
    if parameters[key].WhichOneof("parameter_choice") != "string_param":
        raise InvalidInput.of(f"{place}[{key}]", "must be a string_param")
    return parameters[key].string_param


def _describe_place(tensor: pb.ModelInferResponse.InferOutputTensor, memory: Slice, byte_size: int) -> None:
    tensor.parameters[_REGION].string_param = memory.region.name
    tensor.parameters[_BYTE_SIZE].int64_param = byte_size
    if memory.offset:
        tensor.parameters[_OFFSET].int64_param = memory.offset
