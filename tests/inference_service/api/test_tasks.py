"""Predict and Embed by modality and task: each task answers in its own form, and refuses what belongs to another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import grpc
import numpy as np
import pytest
from google.protobuf import struct_pb2
from maas.inference.v1 import inference_pb2 as pb
from maas.model_store.v1 import model_store_pb2 as store_pb
from numpy.typing import NDArray

from inference_service.api.answers import predictions
from model_store.names import VersionName
from model_store.tasks import TASKS
from tests.inference_service.making import open_registry
from tests.inference_service.running import TIMEOUT, RunningService, refused, refused_fields, running_service
from tests.inference_service.tasks import (
    MODALITIES,
    NAMES,
    NUMBERS,
    PHOTOS,
    ROWS,
    TASK_OF,
    by_hand,
    model_of,
    publish_tasks,
)


def of_image(*photos: bytes) -> list[pb.Example]:
    """Return encoded images as examples."""
    return [pb.Example(file=each) for each in photos]


def of_numbers(rows: NDArray[np.float32]) -> list[pb.Example]:
    """Return rows of numbers as examples."""
    return [pb.Example(values=pb.Values(numbers=row)) for row in rows]


EXAMPLES = {"image": of_image(*PHOTOS), "values": of_numbers(ROWS)}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service with a model `{modality}-{task}` of each modality and task."""
    home = tmp_path_factory.mktemp("home")
    publish_tasks(open_registry(home))
    with running_service(home) as running:
        running.await_serving()
        yield running


def predict(service: RunningService, modality: str, task: str, **options: int) -> pb.PredictResponse:
    """Ask the model of a modality and a task about all its examples."""
    name = f"models/{model_of(modality, task)}"
    return service.stub.Predict(pb.PredictRequest(name=name, examples=EXAMPLES[modality], **options), timeout=TIMEOUT)


@pytest.mark.parametrize("modality", MODALITIES)
def test_a_classification_answers_with_scores_that_sum_to_one(service: RunningService, modality: str) -> None:
    """Softmax of the logits divided by the temperature, the best label first."""
    wanted = (by_hand(modality)[0] / 2.0).softmax(dim=1).numpy()
    for prediction, row in zip(predict(service, modality, "classification").predictions, wanted, strict=True):
        scores = prediction.classification.scores
        assert [each.label for each in scores] == [NAMES[i] for i in np.argsort(-row)]
        np.testing.assert_allclose([each.score for each in scores], sorted(row, reverse=True), atol=1e-5)


@pytest.mark.parametrize("modality", MODALITIES)
def test_a_multi_label_model_decides_on_each_label(service: RunningService, modality: str) -> None:
    """Sigmoid of each logit divided by the temperature; a label is assigned from a half on."""
    wanted = (by_hand(modality)[0] / 0.5).sigmoid().numpy()
    for prediction, row in zip(predict(service, modality, "multi_label").predictions, wanted, strict=True):
        labels = prediction.multi_label.labels
        assert [each.label for each in labels] == [NAMES[i] for i in np.argsort(-row)]
        np.testing.assert_allclose([each.score for each in labels], sorted(row, reverse=True), atol=1e-5)
        assert [each.assigned for each in labels] == [each.score >= 0.5 for each in labels]


@pytest.mark.parametrize("modality", MODALITIES)
def test_a_regression_answers_with_values(service: RunningService, modality: str) -> None:
    """The outputs as they are, target by target."""
    wanted = by_hand(modality)[0].numpy()
    for prediction, row in zip(predict(service, modality, "regression").predictions, wanted, strict=True):
        targets = prediction.regression.targets
        assert tuple(each.target for each in targets) == NAMES
        np.testing.assert_allclose([each.value for each in targets], row, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("modality", MODALITIES)
def test_every_modality_is_embedded(service: RunningService, modality: str) -> None:
    """A model of any task gives what its head reads."""
    request = pb.EmbedRequest(name=f"models/{modality}-regression", examples=EXAMPLES[modality])
    answer = service.stub.Embed(request, timeout=TIMEOUT)
    np.testing.assert_allclose([each.values for each in answer.embeddings], by_hand(modality)[1], rtol=1e-4, atol=1e-5)


def test_scores_at_the_threshold_are_assigned() -> None:
    """A half counts; just below does not."""
    scores = np.array([[0.5, np.nextafter(np.float32(0.5), np.float32(0)), 0.75]], np.float32)
    (prediction,) = predictions(TASK_OF["multi_label"], scores, pb.PredictRequest())
    assert [(each.label, each.assigned) for each in prediction.multi_label.labels] == [
        ("large", True),
        ("red", True),
        ("round", False),
    ]


@pytest.mark.parametrize("kind", TASKS)
def test_every_task_has_a_writer(kind: str) -> None:
    """One prediction for a row, of the kind that the task names."""
    (prediction,) = predictions(TASK_OF[kind], np.zeros((1, 3), np.float32), pb.PredictRequest())
    assert prediction.WhichOneof("result") == kind


@pytest.mark.parametrize("task", ["multi_label", "regression"])
def test_an_option_of_another_task_is_refused(service: RunningService, task: str) -> None:
    """The message says which task the version has."""
    with refused(grpc.StatusCode.INVALID_ARGUMENT, f"the task of models/values-{task.replace('_', '-')}/versions/1 is"):
        predict(service, "values", task, top_k=2)
    with refused_fields("top_k"):
        predict(service, "values", task, top_k=2)


CONTENTS: dict[str, pb.Example] = {
    "file": pb.Example(file=PHOTOS[0]),
    "pixels": pb.Example(pixels=pb.Pixels(height=1, width=2, data=bytes(6))),
    "text": pb.Example(text="a red rose"),
    "row": pb.Example(row=pb.Row(cells={"age": struct_pb2.Value(number_value=3)})),
    "values": pb.Example(values=pb.Values(numbers=[1, 2])),
    "samples": pb.Example(samples=pb.Samples(sample_rate_hertz=16000, data=bytes(8))),
}
TAKEN = {"image": ("file", "pixels"), "values": ("values",)}
OTHERS = [(modality, kind) for modality in MODALITIES for kind in CONTENTS if kind not in TAKEN[modality]]


def test_every_content_of_an_example_is_tried() -> None:
    """What the message has is what the tests below send."""
    assert set(CONTENTS) == {field.name for field in pb.Example.DESCRIPTOR.oneofs_by_name["content"].fields}


@pytest.mark.parametrize(("modality", "kind"), OTHERS)
def test_an_example_of_another_modality_is_refused(service: RunningService, modality: str, kind: str) -> None:
    """By its place in the request, with what the version takes instead; Embed refuses it as well."""
    takes = {"image": "must be an encoded image, or RGB pixels", "values": "must be a row of 6 numbers"}[modality]
    examples = [*EXAMPLES[modality], CONTENTS[kind]]
    place, name = f"examples[{len(examples) - 1}].{kind}", f"models/{modality}-classification"
    with refused(grpc.StatusCode.INVALID_ARGUMENT, takes):
        service.stub.Predict(pb.PredictRequest(name=name, examples=examples), timeout=TIMEOUT)
    with refused_fields(place):
        service.stub.Predict(pb.PredictRequest(name=name, examples=examples), timeout=TIMEOUT)
    with refused_fields(place):
        service.stub.Embed(pb.EmbedRequest(name=name, examples=examples), timeout=TIMEOUT)


def nested() -> struct_pb2.Value:
    """Return a list of cells, which no column has."""
    return struct_pb2.Value(list_value=struct_pb2.ListValue(values=[struct_pb2.Value(number_value=1)]))


@pytest.mark.parametrize(
    ("model", "example", "field"),
    [
        ("values", pb.Example(), "examples[0]"),
        ("values", pb.Example(values=pb.Values()), "examples[0].values"),
        ("values", pb.Example(values=pb.Values(numbers=range(7))), "examples[0].values"),
        ("values", pb.Example(values=pb.Values(numbers=[0, 1, 2, 3, 4, np.nan])), "examples[0].values"),
        ("values", pb.Example(row=pb.Row(cells={"a": nested()})), "examples[0].row.cells['a']"),
        ("values", pb.Example(row=pb.Row(cells={"b": struct_pb2.Value()})), "examples[0].row.cells['b']"),
        ("values", pb.Example(samples=pb.Samples(data=bytes(4))), "examples[0].samples.sample_rate_hertz"),
        ("values", pb.Example(samples=pb.Samples(sample_rate_hertz=8, data=bytes(5))), "examples[0].samples.data"),
        ("image", pb.Example(pixels=pb.Pixels(height=2, width=2, data=bytes(11))), "examples[0].pixels.data"),
    ],
    ids=["none", "empty", "long", "nan", "list", "no-cell", "rate", "odd-bytes", "few-bytes"],
)
def test_a_malformed_example_is_named(service: RunningService, model: str, example: pb.Example, field: str) -> None:
    """By the part of it that is wrong."""
    with refused_fields(field):
        service.stub.Predict(pb.PredictRequest(name=f"models/{model}-regression", examples=[example]), timeout=TIMEOUT)


def test_a_request_of_too_many_numbers_is_refused(tmp_path: Path) -> None:
    """The limit is the sum of the examples in the modality's unit; one below it is answered."""
    version = open_registry(tmp_path).publish_mlp(NUMBERS)
    with running_service(tmp_path, max_request_size={"values": 30}) as service:
        service.await_state(version.name, pb.VERSION_STATE_READY)
        assert len(predict_rows(service, version.name, ROWS).predictions) == 5
        with refused(grpc.StatusCode.INVALID_ARGUMENT, "with it the request has over 30 numbers: send fewer at once"):
            predict_rows(service, version.name, np.concatenate([ROWS, ROWS[:1]]))


def predict_rows(service: RunningService, name: VersionName, rows: NDArray[np.float32]) -> pb.PredictResponse:
    """Ask a version about rows of numbers."""
    return service.stub.Predict(pb.PredictRequest(name=str(name), examples=of_numbers(rows)), timeout=TIMEOUT)


def forms(tensors: Sequence[pb.TensorForm]) -> list[tuple[str, list[str], list[int], int]]:
    """Return the tensors of a signature as plain values."""
    return [(each.name, list(each.datatypes), list(each.shape), each.alternative) for each in tensors]


def test_the_state_tells_modality_task_and_signature(service: RunningService) -> None:
    """Of images three ways to send one; a regression has values and no logits."""
    (images,) = service.state("image-multi-label").versions
    (numbers,) = service.state("values-regression").versions
    assert (images.modality, images.task, images.temperature) == ("image", store_pb.TASK_MULTI_LABEL, 0.5)
    assert (numbers.modality, numbers.task) == ("values", store_pb.TASK_REGRESSION)
    floats = ["FP32", "FP16", "BF16"]
    assert forms(images.signature.inputs) == [
        ("INPUT", floats, [-1, 3, 64, 64], 0),
        ("PIXELS", ["UINT8"], [-1, -1, -1, 3], 1),
        ("IMAGE", ["BYTES"], [-1], 2),
    ]
    assert forms(images.signature.outputs)[:2] == [("SCORES", ["FP32"], [-1, 3], 0), ("LOGITS", ["FP32"], [-1, 3], 0)]
    assert forms(numbers.signature.inputs) == [("INPUT", floats, [-1, 6], 0)]
    assert forms(numbers.signature.outputs) == [("VALUES", ["FP32"], [-1, 3], 0), ("EMBEDDING", ["FP32"], [-1, 12], 0)]
