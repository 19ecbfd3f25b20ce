"""ModelInfer: what it takes and gives, in every form that the protocol knows, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from maas.open_inference.v2 import open_inference_pb2 as pb

from model_store.modalities import Batch
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
    assert_same_outputs,
    decoded,
    described,
    packed,
    rows,
    unpacked,
)
from tests.inference_service.making import expected, photo, pixels
from tests.inference_service.open_inference.codes import INVALID
from tests.inference_service.open_inference.infer_inputs import CROP, X, logits_of, normalised, parameters
from tests.inference_service.running import refused, refused_fields


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
    assert_same_outputs(typed, service.stub.ModelInfer(ask_numbers(X)))


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
def test_half_floats_are_widened(service: OpenService, datatype: str) -> None:
    """The same answer as for the float32 that they stand for; they are raw only."""
    tensor = torch.from_numpy(X).to({"FP16": torch.float16, "BF16": torch.bfloat16}[datatype])
    raw = tensor.view(torch.uint8).numpy().tobytes()
    half = described("INPUT", datatype, *X.shape)
    widened = service.stub.ModelInfer(ask_numbers(tensor.float().numpy()))
    assert_same_outputs(service.infer("numbers", half, raw=[raw]), widened)
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
    """BYTES of value, index and label, best first; the values read back as the numbers."""
    best = Output(name=name, parameters=parameters(classification=2))
    answer = service.stub.ModelInfer(ask_numbers(X, outputs=[best, Output(name="EMBEDDING")]))
    values = arrays(service.stub.ModelInfer(ask_numbers(X)))[name]
    classes, embedding = answer.outputs
    assert (classes.datatype, list(classes.shape), embedding.datatype) == ("BYTES", [2, 2], "FP32")
    found = [each.decode().split(":") for each in unpacked(answer.raw_output_contents[0])]
    best_first = [(row, index) for row in values for index in np.argsort(-row, kind="stable")[:2]]
    assert [(index, label) for _, index, label in found] == [(str(i), f"class {i}") for _, i in best_first]
    assert [float(value) for value, _, _ in found] == pytest.approx([row[i] for row, i in best_first], abs=1e-6)


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
