"""Recordings are answered over every edge: files and samples, of any length, and what is none is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from maas.inference.v1 import inference_pb2 as pb
from maas.open_inference.v2 import open_inference_pb2 as oi
from maas.open_inference.v2 import open_inference_pb2_grpc

from model_store.architectures import Head, build_random
from model_store.bases.catalogue import LoadedBase
from model_store.modalities.audio.spec import AudioInputSpec
from tests.inference_service.making import open_registry
from tests.inference_service.running import RunningService, running_service
from tests.model_store.modalities.recordings import RATE, file_of, noise, tone

LABELS = ("hiss", "hum")
TIMEOUT = 60.0  # the first recording of another rate waits for the import of a large library
SHORT, LONG = tone(440), noise(0, 3.0)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Run a service with one version, of random weights."""
    home: Path = tmp_path_factory.mktemp("audio")
    head = Head("linear", len(LABELS))
    base = LoadedBase(
        architecture="speech_embedding",
        arguments={},
        chain=build_random("speech_embedding", {}, head, seed=0).eval(),
        head=head,
        input_spec=AudioInputSpec(rate=RATE, window=12_512, hop=6_256, max_windows=8),
        labels=LABELS,
        origin={"source": "random"},
    )
    open_registry(home).publish_mlp(base, "sounds")
    with running_service(home, response_cache_mb=1) as running:
        running.await_serving()
        yield running


def samples(values: np.ndarray, rate: int = RATE) -> pb.Example:
    """Return the message of samples."""
    return pb.Example(samples=pb.Samples(sample_rate_hertz=rate, data=values.astype("<f4").tobytes()))


def scores(service: RunningService, *examples: pb.Example) -> list[dict[str, float]]:
    """Return the scores of each label, for each example."""
    answer = service.stub.Predict(pb.PredictRequest(name="models/sounds", examples=examples), timeout=TIMEOUT)
    return [{each.label: each.score for each in one.classification.scores} for one in answer.predictions]


def test_files_and_samples_of_several_lengths_have_an_answer_each(service: RunningService) -> None:
    """In one request, and each as it has it alone; a repeated one comes from the cache."""
    short, long = pb.Example(file=file_of(SHORT, subtype="FLOAT")), samples(LONG)
    together = scores(service, short, long, samples(SHORT))
    assert together[0] == pytest.approx(together[2])
    for example, found in zip((short, long), together, strict=False):
        assert scores(service, example)[0] == pytest.approx(found, abs=1e-5)
    assert scores(service, short, long, samples(SHORT)) == together
    assert scores(service, samples(SHORT, 8000)) != scores(service, samples(SHORT))


def test_a_recording_has_one_embedding(service: RunningService) -> None:
    """Of however many windows."""
    request = pb.EmbedRequest(name="models/sounds", examples=[samples(SHORT), samples(LONG)])
    answer = service.stub.Embed(request, timeout=TIMEOUT)
    assert [len(each.values) for each in answer.embeddings] == [96, 96]


def test_open_inference_takes_files_and_samples_with_their_rate(service: RunningService) -> None:
    """Both give the same answer."""
    stub = open_inference_pb2_grpc.GRPCInferenceServiceStub(service.channel)
    described = stub.ModelMetadata(oi.ModelMetadataRequest(name="sounds"), timeout=TIMEOUT)
    assert [(each.name, each.datatype, list(each.shape)) for each in described.inputs][:2] == [
        ("SAMPLES", "FP32", [-1, -1]),
        ("RATE", "INT64", [-1]),
    ]
    tensor = oi.ModelInferRequest.InferInputTensor
    file = file_of(SHORT, subtype="FLOAT")
    by_file = oi.ModelInferRequest(
        model_name="sounds",
        inputs=[tensor(name="AUDIO", datatype="BYTES", shape=[1])],
        raw_input_contents=[len(file).to_bytes(4, "little") + file],
    )
    by_samples = oi.ModelInferRequest(
        model_name="sounds",
        inputs=[
            tensor(name="SAMPLES", datatype="FP32", shape=[1, SHORT.size]),
            tensor(name="RATE", datatype="INT64", shape=[1]),
        ],
        raw_input_contents=[SHORT.tobytes(), RATE.to_bytes(8, "little")],
    )
    answers = [stub.ModelInfer(each, timeout=TIMEOUT).raw_output_contents for each in (by_file, by_samples)]
    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    ("example", "field", "text"),
    [
        (pb.Example(file=b"no sound"), "file", "not a recording in one of the formats"),
        (samples(np.zeros(0, np.float32)), "samples", "no samples"),
        (samples(SHORT, 1), "samples", "a sample rate of 1 Hz is outside of"),
        (samples(np.array([0, np.nan])), "samples", "sample 1 is not finite"),
        (pb.Example(text="a text"), "text", "must be a recording"),
    ],
)
def test_what_is_no_recording_is_refused_by_its_place(
    service: RunningService, example: pb.Example, field: str, text: str
) -> None:
    """And the service goes on."""
    with pytest.raises(grpc.RpcError) as raised:
        scores(service, samples(SHORT), example)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert f"examples[1].{field}" in raised.value.details()
    assert text in raised.value.details()
    assert scores(service, samples(np.zeros(RATE, np.float32)))[0].keys() == set(LABELS)
