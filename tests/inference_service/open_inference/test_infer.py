"""ModelInfer: what it takes and gives, in every form that the protocol knows, and what it refuses."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import torch
from maas.inference.v1 import inference_pb2
from maas.open_inference.v2 import open_inference_pb2 as pb
from maas.open_inference.v2 import open_inference_pb2_grpc
from numpy.typing import NDArray

from model_store.modalities import Batch
from model_store.modalities.image.spec import normalise
from tests.inference_service.inferring import (
    BACKBONE,
    NUMBERS,
    PROBE,
    Input,
    OpenService,
    Output,
    Parameter,
    arrays,
    ask_numbers,
    decoded,
    described,
    packed,
    request,
    rows,
    serving_models,
    unpacked,
)
from tests.inference_service.making import SPEC, Recipe, expected, mlp, open_registry, photo, pixels
from tests.inference_service.running import refused, refused_fields, running_service, until
from tests.odd_images import PALETTE_WITHOUT_COLOURS

X = rows()
CROP = SPEC.crop_size
INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenService]:
    """A service with a classifier, a backbone and a model of numbers."""
    with serving_models(tmp_path_factory.mktemp("home"), max_examples_per_request=8) as serving:
        yield serving


def with_odd(number: float) -> bytes:
    """Return two rows of numbers, the second with this one among them."""
    odd = X.copy()
    odd[1, 3] = number
    return odd.tobytes()


def logits_of(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Run the model of numbers by hand."""
    with torch.inference_mode():
        return NUMBERS.chain(Batch.of(torch.from_numpy(x))).numpy()


def normalised(made: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return rows as INPUT takes them."""
    return normalise(torch.from_numpy(made), SPEC).contiguous().numpy()


def parameters(**values: int | str | float | bool) -> dict[str, Parameter]:  # noqa: PYI041
    """Write parameters by the types that clients give them."""
    kinds = {bool: "bool_param", int: "int64_param", str: "string_param", float: "double_param"}
    return {name: Parameter(**{kinds[type(value)]: value}) for name, value in values.items()}


def test_rows_of_numbers_equal_the_chain_run_by_hand(service: OpenService) -> None:
    """All outputs where none is named, raw, float32; the answer says who gave it and to which request."""
    answer = service.stub.ModelInfer(ask_numbers(X, id="request 7"))
    assert (answer.model_name, answer.model_version, answer.id) == ("numbers", "1", "request 7")
    outputs = arrays(answer)
    assert list(outputs) == ["SCORES", "LOGITS", "EMBEDDING"]
    np.testing.assert_allclose(outputs["LOGITS"], logits_of(X), atol=1e-6)
    np.testing.assert_allclose(outputs["SCORES"], torch.from_numpy(logits_of(X)).softmax(dim=-1), atol=1e-6)
    with torch.inference_mode():
        np.testing.assert_allclose(outputs["EMBEDDING"], NUMBERS.chain.embed(Batch.of(torch.from_numpy(X))), atol=1e-6)


def test_typed_contents_equal_raw_ones(service: OpenService) -> None:
    """Numbers in the message's own list."""
    contents = pb.InferTensorContents(fp32_contents=X.ravel())
    typed = service.infer("numbers", described("INPUT", "FP32", *X.shape, contents=contents))
    assert typed == service.stub.ModelInfer(ask_numbers(X))


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
def test_half_floats_are_widened(service: OpenService, datatype: str) -> None:
    """The same answer as for the float32 that they stand for; they are raw only."""
    tensor = torch.from_numpy(X).to({"FP16": torch.float16, "BF16": torch.bfloat16}[datatype])
    raw = tensor.view(torch.uint8).numpy().tobytes()
    half = described("INPUT", datatype, *X.shape)
    assert service.infer("numbers", half, raw=[raw]) == service.stub.ModelInfer(ask_numbers(tensor.float().numpy()))
    half.contents.fp32_contents.extend(X.ravel())
    with refused(INVALID, "inputs[0]: INPUT is"):
        service.infer("numbers", half)


def test_the_three_inputs_of_images_give_the_same(service: OpenService) -> None:
    """Encoded, as pixels of any size, as pixels of the crop's size, and normalised."""
    photos = [photo(1), photo(2)]
    raw = np.stack([decoded(each) for each in photos])
    prepared = np.stack([pixels(each) for each in photos])
    scores, embeddings = expected(PROBE, list(prepared))
    asked: list[tuple[Input, bytes]] = [
        (described("IMAGE", "BYTES", 2), packed(*photos)),
        (described("IMAGE", "BYTES", 2, 1), packed(*photos)),
        (described("PIXELS", "UINT8", *raw.shape), raw.tobytes()),
        (described("PIXELS", "UINT8", *prepared.shape), prepared.tobytes()),
        (described("INPUT", "FP32", 2, 3, CROP, CROP), normalised(prepared).tobytes()),
    ]
    for tensor, data in asked:
        outputs = arrays(service.infer("flowers", tensor, raw=[data]))
        np.testing.assert_allclose(outputs["SCORES"], scores, atol=1e-5)
        np.testing.assert_allclose(outputs["EMBEDDING"], embeddings, atol=1e-5)
        np.testing.assert_allclose(torch.from_numpy(outputs["LOGITS"].copy()).softmax(dim=-1), scores, atol=1e-5)


def test_images_come_in_typed_contents_too(service: OpenService) -> None:
    """As bytes, and as pixels."""
    made = pixels(photo(1))[None]
    image = described("IMAGE", "BYTES", 1, contents=pb.InferTensorContents(bytes_contents=[photo(1)]))
    numbers = pb.InferTensorContents(uint_contents=made.ravel().tolist())
    prepared = described("PIXELS", "UINT8", *made.shape, contents=numbers)
    for tensor in (image, prepared):
        scores, _ = expected(PROBE, list(made))
        np.testing.assert_allclose(arrays(service.infer("flowers", tensor))["SCORES"], scores, atol=1e-5)
    prepared.contents.uint_contents[5] = 256
    with refused(INVALID, "inputs[0]: PIXELS must have elements of 0 to 255"):
        service.infer("flowers", prepared)


def test_a_backbone_gives_its_embedding_alone(service: OpenService) -> None:
    """There is no head to give anything else."""
    image = described("IMAGE", "BYTES", 1)
    outputs = arrays(service.infer("base", image, raw=[packed(photo(1))]))
    _, embedding = expected(BACKBONE, [pixels(photo(1))])
    assert list(outputs) == ["EMBEDDING"]
    np.testing.assert_allclose(outputs["EMBEDDING"], embedding, atol=1e-5)
    with refused(INVALID, "outputs[0]: must be one of EMBEDDING, not 'SCORES'"):
        service.infer("base", image, raw=[packed(photo(1))], outputs=[Output(name="SCORES")])


def test_only_the_outputs_that_are_named_come_in_their_order(service: OpenService) -> None:
    """And none twice."""
    answer = service.stub.ModelInfer(ask_numbers(X, outputs=[Output(name="EMBEDDING"), Output(name="LOGITS")]))
    assert [(each.name, each.datatype, list(each.shape)) for each in answer.outputs] == [
        ("EMBEDDING", "FP32", [2, 12]),
        ("LOGITS", "FP32", [2, 3]),
    ]
    with refused_fields("outputs[1]"):
        service.stub.ModelInfer(ask_numbers(X, outputs=[Output(name="LOGITS"), Output(name="LOGITS")]))


def test_a_request_larger_than_a_batch_is_answered_in_order(service: OpenService) -> None:
    """Its parts come back as one."""
    x = rows(8)
    np.testing.assert_allclose(arrays(service.stub.ModelInfer(ask_numbers(x)))["LOGITS"], logits_of(x), atol=1e-6)


@pytest.mark.parametrize("name", ["SCORES", "LOGITS"])
def test_a_classification_names_the_best_labels(service: OpenService, name: str) -> None:
    """BYTES of value, index and label, best first; the values read back as the very numbers."""
    best = Output(name=name, parameters=parameters(classification=2))
    answer = service.stub.ModelInfer(ask_numbers(X, outputs=[best, Output(name="EMBEDDING")]))
    values = arrays(service.stub.ModelInfer(ask_numbers(X)))[name]
    classes, embedding = answer.outputs
    assert (classes.datatype, list(classes.shape), embedding.datatype) == ("BYTES", [2, 2], "FP32")
    found = [each.decode().split(":") for each in unpacked(answer.raw_output_contents[0])]
    wanted = [
        (row[index], str(index), f"class {index}") for row in values for index in np.argsort(-row, kind="stable")[:2]
    ]
    assert [(np.float32(value), index, label) for value, index, label in found] == wanted


def test_a_classification_has_as_many_as_there_are(service: OpenService) -> None:
    """All labels for a larger number, the tensor for 0; of an embedding the elements have no labels."""
    outputs = [
        Output(name="SCORES", parameters=parameters(classification=99)),
        Output(name="LOGITS", parameters=parameters(classification=0)),
        Output(name="EMBEDDING", parameters={"classification": Parameter(uint64_param=1)}),
    ]
    answer = service.stub.ModelInfer(ask_numbers(X, outputs=outputs))
    assert [(each.datatype, list(each.shape)) for each in answer.outputs] == [
        ("BYTES", [2, 3]),
        ("FP32", [2, 3]),
        ("BYTES", [2, 1]),
    ]
    assert all(each.count(b":") == 1 for each in unpacked(answer.raw_output_contents[2]))
    for wrong in (-1, 2.0, "2", True):
        with refused_fields("outputs[0][classification]"):
            output = Output(name="SCORES", parameters=parameters(classification=wrong))
            service.stub.ModelInfer(ask_numbers(X, outputs=[output]))


@pytest.mark.parametrize(
    ("tensors", "raw", "text"),
    [
        ([], [], "inputs: must be INPUT, not none"),
        ([described("OUTPUT", "FP32", 2, 6)], [X.tobytes()], "inputs: must be INPUT, not 'OUTPUT'"),
        ([described("INPUT", "FP32", 2, 6)] * 2, [X.tobytes()] * 2, "must be INPUT, not 'INPUT, INPUT'"),
        (
            [described("INPUT", "INT64", 2, 6)],
            [bytes(96)],
            "inputs[0]: INPUT must be FP32 or FP16 or BF16, not 'INT64'",
        ),
        ([described("INPUT", "", 2, 6)], [X.tobytes()], "INPUT must be FP32 or FP16 or BF16, not ''"),
        (
            [described("INPUT", "FP32", 2, 6)],
            [with_odd(np.nan)],
            "inputs[0]: INPUT: row 1 has NaN or infinity",
        ),
        ([described("INPUT", "FP32", 2, 6)], [with_odd(np.inf)], "row 1 has NaN or infinity"),
        ([described("INPUT", "FP32", 2, 6)], [with_odd(-np.inf)], "row 1 has NaN or infinity"),
        ([described("INPUT", "FP16", 1, 6)], [np.full((1, 6), np.nan, "<f2").tobytes()], "row 0 has NaN"),
        ([described("INPUT", "BF16", 1, 6)], [b"\x80\x7f" * 6], "row 0 has NaN or infinity"),
        ([described("INPUT", "FP32", 2, 5)], [X.tobytes()], "[n, 6] with n of 1 to 8, not '[2, 5]'"),
        ([described("INPUT", "FP32", 12)], [X.tobytes()], "[n, 6] with n of 1 to 8, not '[12]'"),
        ([described("INPUT", "FP32")], [X.tobytes()], "not '[]'"),
        ([described("INPUT", "FP32", 0, 6)], [b""], "not '[0, 6]'"),
        ([described("INPUT", "FP32", 9, 6)], [bytes(216)], "not '[9, 6]'"),
        ([described("INPUT", "FP32", -2, -6)], [X.tobytes()], "not '[-2, -6]'"),
        ([described("INPUT", "FP32", *[1] * 5000)], [X.tobytes()], "..."),
        ([described("INPUT", "FP32", 2, 6)], [X.tobytes()[:-1]], "must have 48 raw bytes for 2 x 6 of FP32, not 47"),
        ([described("INPUT", "FP32", 2, 6)], [X.tobytes() + b"x"], "48 raw bytes for 2 x 6 of FP32, not 49"),
        ([described("INPUT", "FP32", 2, 6)], [X.tobytes()] * 2, "raw_input_contents: must have one entry"),
        (
            [described("INPUT", "FP32", 2, 6)],
            [],
            "must have 12 elements in contents.fp32_contents for its shape, not 0",
        ),
    ],
)
def test_what_a_model_of_numbers_cannot_take_is_explained(
    service: OpenService, tensors: list[Input], raw: list[bytes], text: str
) -> None:
    """Which input, what was expected, and what was found."""
    with refused(INVALID, text):
        service.infer("numbers", *tensors, raw=raw)
    assert service.stub.ModelInfer(ask_numbers(X)).outputs


@pytest.mark.parametrize(
    ("lists", "text"),
    [
        ({"fp32_contents": [0.0] * 11}, "must have 12 elements in contents.fp32_contents for its shape, not 11"),
        (
            {"fp64_contents": [0.0] * 12},
            "INPUT is FP32, whose elements go into contents.fp32_contents, not fp64_contents",
        ),
        ({"fp32_contents": [0.0] * 12, "int_contents": [1]}, "has elements in int_contents and fp32_contents"),
    ],
)
def test_typed_contents_go_into_the_right_list(service: OpenService, lists: dict[str, list[float]], text: str) -> None:
    """As many as the shape says, in one list."""
    with refused(INVALID, text):
        service.infer("numbers", described("INPUT", "FP32", 2, 6, contents=pb.InferTensorContents(**lists)))


def test_raw_and_typed_contents_do_not_mix(service: OpenService) -> None:
    """Not even where the typed ones are empty."""
    tensor = described("INPUT", "FP32", *X.shape, contents=pb.InferTensorContents())
    with refused(INVALID, "inputs[0]: 'INPUT' has contents beside raw_input_contents"):
        service.infer("numbers", tensor, raw=[X.tobytes()])


@pytest.mark.parametrize(
    ("tensor", "raw", "text"),
    [
        (described("INPUT", "FP32", 1, 3, 60, 60), bytes(43200), f"[n, 3, {CROP}, {CROP}]"),
        (described("INPUT", "FP32", 1, CROP, CROP, 3), bytes(49152), "INPUT must have the shape"),
        (described("PIXELS", "UINT8", 1, 9, 9, 4), bytes(324), "PIXELS must have the shape [n, any, any, 3]"),
        (described("PIXELS", "UINT8", 1, 0, 9, 3), b"", "PIXELS must have the shape"),
        (described("PIXELS", "FP32", 1, 9, 9, 3), bytes(972), "PIXELS must be UINT8, not 'FP32'"),
        (described("PIXELS", "UINT8", 1, 2**62, 2**62, 3), b"x", "raw bytes for 1 x"),
        (described("PIXELS", "UINT8", 2, 1, 90, 3), bytes(540), "inputs[0].PIXELS[0]: 90 x 1 pixels: one edge"),
        (described("IMAGE", "BYTES", 1), packed(b"no image"), "inputs[0].IMAGE[0]: not an image"),
        (described("IMAGE", "BYTES", 2), packed(photo(1), b""), "inputs[0].IMAGE[1]: not an image"),
        (described("IMAGE", "BYTES", 2), packed(photo(1), PALETTE_WITHOUT_COLOURS), "inputs[0].IMAGE[1]: damaged"),
        (described("IMAGE", "BYTES", 2), packed(photo(1)), "IMAGE must have 2 elements"),
        (described("IMAGE", "BYTES", 1), packed(photo(1), photo(2)), "IMAGE must have 1 elements"),
        (described("IMAGE", "BYTES", 1), packed(photo(1)) + b"\0", "IMAGE must have 1 elements"),
        (described("IMAGE", "BYTES", 1), packed(photo(1))[:-1], "IMAGE has an element, number 0, that ends behind"),
        (described("IMAGE", "BYTES", 1), b"\1\0", "IMAGE has an element, number 0, that ends behind"),
        (described("IMAGE", "BYTES", 1, 2), packed(photo(1), photo(1)), "IMAGE must have the shape [n]"),
        (described("IMAGE", "UINT8", 1), b"x", "IMAGE must be BYTES, not 'UINT8'"),
    ],
)
def test_what_a_model_of_images_cannot_take_is_explained(
    service: OpenService, tensor: Input, raw: bytes, text: str
) -> None:
    """Which input, what was expected, and what was found; an image that is wrong is named by its number."""
    with refused(INVALID, text):
        service.infer("flowers", tensor, raw=[raw])


def test_one_of_the_three_inputs_must_do(service: OpenService) -> None:
    """Two are one too many."""
    both = [described("IMAGE", "BYTES", 1), described("PIXELS", "UINT8", 1, 9, 9, 3)]
    with refused(INVALID, "inputs: must be exactly one of INPUT, PIXELS, IMAGE, not 'IMAGE, PIXELS'"):
        service.infer("flowers", *both, raw=[packed(photo(1)), bytes(243)])


@pytest.mark.parametrize(
    ("model", "version"),
    [
        ("cars", ""),
        ("cars", "1"),
        ("numbers", "7"),
        ("numbers", "0"),
        ("numbers", "production"),
        ("flowers", "canary"),
        ("no_such_model", ""),
        ("models/numbers", ""),
        ("numbers/versions/1", ""),
        ("numbers", "-1"),
        ("numbers", "1.0"),
        ("x" * 5000, ""),
    ],
)
def test_what_nothing_answers_to_is_not_found(service: OpenService, model: str, version: str) -> None:
    """Whether it could be a name or not."""
    with refused(NOT_FOUND):
        service.stub.ModelInfer(pb.ModelInferRequest(model_name=model, model_version=version))


def test_a_request_without_a_model_is_refused(service: OpenService) -> None:
    """Nothing is guessed."""
    with refused_fields("model_name"):
        service.stub.ModelInfer(pb.ModelInferRequest())


def test_a_version_is_a_number_an_alias_or_what_answers_for_the_model(service: OpenService) -> None:
    """Empty is the alias `production`, else the newest version that is ready."""
    registry = open_registry(service.home)

    def answers(version: str = "") -> str:
        return service.stub.ModelInfer(ask_numbers(X, model_name="many", model_version=version)).model_version

    first = registry.publish_mlp(mlp(seed=1), "many").name
    registry.point(first, "old")
    second = registry.publish_mlp(mlp(seed=2), "many").name
    for version in (first, second):
        service.running.await_state(version, inference_pb2.VERSION_STATE_READY)
    assert (answers(), answers("1"), answers("2"), answers("old")) == ("2", "1", "2", "1")
    registry.point(first)
    until(lambda: answers() == "1")
    assert (answers("production"), answers("2")) == ("1", "2")


def test_what_is_still_loading_is_waited_for(tmp_path: Path) -> None:
    """Within the deadline, which a parameter may bring forward."""
    with serving_models(tmp_path) as service:
        free = threading.Event()
        blocked = service.running.loader_thread.submit(free.wait, 20)
        version = open_registry(tmp_path).publish_mlp(mlp(), "late").name
        service.running.await_state(version, inference_pb2.VERSION_STATE_LOADING)
        for asked in ("", "1"):
            with refused(grpc.StatusCode.DEADLINE_EXCEEDED, "was not loaded by the deadline"):
                hasty = ask_numbers(X, model_name="late", model_version=asked, parameters=parameters(timeout=10_000))
                service.stub.ModelInfer(hasty)
        waiting = service.stub.ModelInfer.future(ask_numbers(X, model_name="late"), timeout=20)
        free.set()
        assert blocked.result()
        assert waiting.result().outputs


def test_a_version_that_failed_to_load_says_why(tmp_path: Path) -> None:
    """Its blob is damaged."""
    with serving_models(tmp_path, retry_first_seconds=60.0) as service:
        version, _ = open_registry(tmp_path).publish_damaged(Recipe(head=5), "head", lambda data: data[:-1])
        service.running.await_state(version.name, inference_pb2.VERSION_STATE_FAILED)
        with refused(grpc.StatusCode.FAILED_PRECONDITION, "could not be loaded"):
            service.stub.ModelInfer(request("flowers", model_version="2"))


@pytest.mark.parametrize("kind", ["int64_param", "uint64_param"])
def test_a_timeout_is_kept(service: OpenService, kind: str) -> None:
    """A request that the device cannot take in time is refused then, and no later; 0 is no timeout."""
    with service.busy_device(), refused(grpc.StatusCode.DEADLINE_EXCEEDED):
        service.stub.ModelInfer(ask_numbers(X, parameters={"timeout": Parameter(**{kind: 2000})}), timeout=20)
    unhurried = {"timeout": Parameter(**{kind: 0}), "priority": Parameter(**{kind: 0})}
    assert service.stub.ModelInfer(ask_numbers(X, parameters=unhurried)).outputs
    longest = {"timeout": Parameter(uint64_param=2**64 - 1)}
    assert service.stub.ModelInfer(ask_numbers(X, parameters=longest)).outputs


def test_the_calls_own_deadline_counts_too(service: OpenService) -> None:
    """The nearer one of both."""
    hour = {"timeout": Parameter(int64_param=3_600_000_000)}
    with service.busy_device(), refused(grpc.StatusCode.DEADLINE_EXCEEDED):
        service.stub.ModelInfer(ask_numbers(X, parameters=hour), timeout=0.05)


def test_the_lowest_priority_goes_first(tmp_path: Path) -> None:
    """Before the default and before what came earlier; only what the device has already goes before it."""
    with serving_models(tmp_path, max_batch_cost=1) as service:
        order: list[str] = []

        def ask(priority: int) -> grpc.Future:
            asked = ask_numbers(rows(1), id=str(priority), parameters={"priority": Parameter(uint64_param=priority)})
            call = service.stub.ModelInfer.future(asked, timeout=20)
            call.add_done_callback(lambda done: order.append(done.result().id))
            return call

        scheduler = service.running.server._scheduler
        with service.busy_device():
            calls = [ask(300)]
            until(lambda: scheduler.snapshot().num_running_batches == 1)
            calls += [ask(priority) for priority in (200, 0, 1)]
            until(lambda: scheduler.capacity.waiting_cost == 3)
        until(lambda: len(order) == len(calls))
        assert order == ["300", "1", "0", "200"]


@pytest.mark.parametrize("name", ["timeout", "priority"])
@pytest.mark.parametrize("value", [-1, "5", 0.5, True])
def test_a_parameter_of_the_wrong_kind_is_refused(service: OpenService, name: str, value: str | float) -> None:
    """It is named."""
    with refused_fields(f"parameters[{name}]"):
        service.stub.ModelInfer(ask_numbers(X, parameters=parameters(**{name: value})))


def test_other_parameters_are_ignored(service: OpenService) -> None:
    """Clients send what other servers know."""
    more = parameters(sequence_id=3, sequence_start=True, custom="x", triton_enable_empty_final_response=True)
    assert service.stub.ModelInfer(ask_numbers(X, parameters=more)) == service.stub.ModelInfer(ask_numbers(X))


def test_a_full_queue_is_told(service: OpenService) -> None:
    """RESOURCE_EXHAUSTED, as for every other request."""
    scheduler = service.running.server._scheduler
    with service.busy_device():
        before, scheduler.capacity.max_cost = scheduler.capacity.max_cost, 1
        try:
            with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "no room for 2 more"):
                service.stub.ModelInfer(ask_numbers(X))
        finally:
            scheduler.capacity.max_cost = before


def test_rows_whose_answer_is_not_finite_are_refused(tmp_path: Path) -> None:
    """Their numbers are finite, and too large for the model; the row is named, and the next request is answered."""
    loud = mlp()
    with torch.no_grad():
        for parameter in loud.chain.parameters():
            parameter.mul_(1000)
    open_registry(tmp_path).publish_mlp(loud)
    x = X.copy()
    x[1] = 3e38
    with running_service(tmp_path) as running:
        stub = open_inference_pb2_grpc.GRPCInferenceServiceStub(running.channel)
        with refused(INVALID, "inputs[0]: INPUT row 1 has numbers so large"):
            stub.ModelInfer(ask_numbers(x), timeout=20)
        assert arrays(stub.ModelInfer(ask_numbers(X), timeout=20))["SCORES"].shape == (2, 3)
