"""Whatever is sent to any RPC of either service is answered by a code that says whose mistake it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from random import Random
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from hypothesis import given, settings
from hypothesis import strategies as st
from maas.inference.v1 import inference_pb2
from maas.model_store.v1 import model_store_pb2
from maas.open_inference.v2 import open_inference_pb2
from maas.training.v1 import training_pb2

from tests.grpc_runtime.processes import Process, both_services
from tests.inference_service.making import Recipe, open_registry

TRAINING, INFERENCE = (training_pb2, model_store_pb2), (inference_pb2, open_inference_pb2)
EVERYWHERE = (health_pb2, reflection_pb2)
METHODS = [
    (service, method)
    for service, modules in enumerate((TRAINING + EVERYWHERE, INFERENCE + EVERYWHERE))
    for module in modules
    for each in module.DESCRIPTOR.services_by_name.values()
    for method in each.methods
]
FAULTS = {grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL, grpc.StatusCode.DATA_LOSS}
# These go on for as long as their caller listens.
ENDLESS = {"WatchChanges", "WatchServedModels", "Watch"}
MAX_METADATA_BYTES = 8192

WHOLE = [0, 1, 2, -1, 100, 2**31 - 1, -(2**31), 2**32 - 1, 2**60, 2**63 - 1, -(2**63), 2**64 - 1]
TEXTS = [
    "",
    "flowers",
    "models/flowers",
    "models/flowers/versions/1",
    "models/flowers/aliases/production",
    "models/flowers/versions/99999999999999999999",
    "datasets/photos",
    "trainingJobs/" + "0" * 32,
    "production",
    "\0",
    "%s%n ../../etc/passwd",
    "ж" * 5000,
    "{}",
    "1",
]
KINDS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
    FieldDescriptor.CPPTYPE_STRING: st.one_of(st.sampled_from(TEXTS), st.text(max_size=5)),
    FieldDescriptor.CPPTYPE_FLOAT: st.floats(width=32),
    FieldDescriptor.CPPTYPE_DOUBLE: st.floats(),
    FieldDescriptor.CPPTYPE_INT32: st.sampled_from([each for each in WHOLE if -(2**31) <= each < 2**31]),
    FieldDescriptor.CPPTYPE_UINT32: st.sampled_from([each for each in WHOLE if 0 <= each < 2**32]),
    FieldDescriptor.CPPTYPE_INT64: st.sampled_from([each for each in WHOLE if -(2**63) <= each < 2**63]),
    FieldDescriptor.CPPTYPE_UINT64: st.sampled_from([each for each in WHOLE if each >= 0]),
    FieldDescriptor.CPPTYPE_ENUM: st.sampled_from([0, 1, 2, 99]),
}


def values(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    """Return what may stand in a field."""
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        key, value = (field.message_type.fields_by_name[name] for name in ("key", "value"))
        return st.dictionaries(values(key, depth), values(value, depth), max_size=2)
    if field.message_type is not None:
        one = messages(field.message_type, depth - 1)
    elif field.type == FieldDescriptor.TYPE_BYTES:
        one = st.binary(max_size=20)
    else:
        one = KINDS[field.cpp_type]
    return st.lists(one, max_size=2) if field.is_repeated else one


def messages(kind: Descriptor, depth: int = 4) -> st.SearchStrategy[Any]:
    """Return well-formed messages of a kind, with odd values."""

    def build(drawn: dict[str, Any]) -> Any:
        message = GetMessageClass(kind)()
        for name, value in drawn.items():
            field = kind.fields_by_name[name]
            if field.message_type is not None and field.message_type.GetOptions().map_entry:
                of_messages = field.message_type.fields_by_name["value"].message_type is not None
                for key, part in value.items():
                    if of_messages:
                        getattr(message, name)[key].CopyFrom(part)
                    else:
                        getattr(message, name)[key] = part
            elif field.is_repeated:
                getattr(message, name).extend(value)
            elif field.message_type is not None:
                getattr(message, name).CopyFrom(value)
            else:
                setattr(message, name, value)
        return message

    if depth == 0:
        return st.builds(GetMessageClass(kind))
    fields = {field.name: st.deferred(lambda field=field: values(field, depth)) for field in kind.fields}
    return st.fixed_dictionaries({}, optional=fields).map(build)


@st.composite
def wire_fields(draw: st.DrawFn, kind: Descriptor) -> bytes:
    """Return one field of the message in another wire type than its own, or cut short."""
    numbers = [field.number for field in kind.fields] or [1]
    number, wire_type = draw(st.sampled_from([*numbers, 1000])), draw(st.integers(0, 7))
    tag = (number << 3) | wire_type
    encoded = bytes([tag & 127 | 128, tag >> 7]) if tag > 127 else bytes([tag])
    return encoded + draw(st.binary(max_size=12))


def payloads(method: MethodDescriptor) -> st.SearchStrategy[list[bytes]]:
    """Return what a call may send: no message, well-formed ones, and bytes that are none."""
    kind = method.input_type
    one = st.one_of(
        messages(kind).map(lambda each: each.SerializeToString()),
        st.binary(max_size=40),
        wire_fields(kind),
    )
    return st.lists(one, max_size=3 if method.client_streaming else 1)


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Process, Process]]:
    """Both services, with one model; at the end they go on, and every line that they logged is JSON."""
    home = tmp_path_factory.mktemp("home")
    open_registry(home).publish(Recipe(head=1), model_id="flowers", alias="production")
    with both_services(home) as processes:
        yield processes
        for each in processes:
            assert each.is_serving()
    for each in processes:
        assert {line["level"] for line in each.lines} <= {"info", "warning"}


@pytest.mark.parametrize(
    ("service", "method"), METHODS, ids=[f"{('training', 'inference')[n]}-{m.full_name}" for n, m in METHODS]
)
def test_any_call_is_answered(services: tuple[Process, Process], service: int, method: MethodDescriptor) -> None:
    """By no fault of the service, in metadata that every client takes, and with a line in the log at most."""
    process = services[service]
    name = f"/{method.containing_service.full_name}/{method.name}"
    call = process.channel.stream_stream(name)
    is_endless = method.name in ENDLESS

    @given(payloads(method))
    @settings(max_examples=8 if is_endless else 40)
    def run(sent: list[bytes]) -> None:
        num_lines = len(process.lines)
        answer = call(iter(sent), timeout=0.2 if is_endless else 20)
        with suppress(grpc.RpcError):
            for _ in answer:
                pass
        assert answer.code() not in FAULTS, answer.details()
        assert is_endless or answer.code() is not grpc.StatusCode.DEADLINE_EXCEEDED
        assert sum(32 + len(key) + len(value) for key, value in answer.trailing_metadata()) < MAX_METADATA_BYTES
        assert len(process.lines) <= num_lines + 1
        if not sent and not method.client_streaming:
            assert answer.code() is grpc.StatusCode.INVALID_ARGUMENT

    run()


@pytest.mark.parametrize("service", [0, 1], ids=["training", "inference"])
def test_callers_who_leave_at_any_moment_leave_no_line(services: tuple[Process, Process], service: int) -> None:
    """Before they are read, while they are answered, and with their connection."""
    process, random = services[service], Random(service)
    names = [f"/{each.containing_service.full_name}/{each.name}" for number, each in METHODS if number == service]
    num_lines = len(process.lines)
    for _ in range(5):
        with grpc.insecure_channel(process.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            calls = []
            for name in random.choices(names, k=40):
                call = channel.stream_stream(name)(iter([b""] * random.choice([0, 1, 1, 3])), timeout=20)
                calls.append(call)
                if random.random() < 0.4:
                    call.cancel()
            for call in random.sample(calls, 20):
                call.cancel()
    assert process.is_serving()
    assert [line for line in process.lines[num_lines:] if line["level"] != "info"] == []
