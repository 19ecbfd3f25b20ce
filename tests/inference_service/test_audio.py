"""Recordings are answered over every edge: files and samples, of any length, and what is none is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import torch
from maas.inference.v1 import inference_pb2 as pb
from maas.open_inference.v2 import open_inference_pb2 as oi
from maas.open_inference.v2 import open_inference_pb2_grpc

from model_store.bases.base import LoadedBase
from model_store.calibration import batch_of
from model_store.modalities import prepared
from model_store.modalities.spec import Numbers
from model_store.names import AliasName, VersionName
from model_store.records.aliases import Share, Traffic
from tests.inference_service.making import open_registry
from tests.inference_service.running import RunningService, running_service, until
from tests.model_store.audio_models import LABELS, audio_base
from tests.model_store.modalities.recordings import RATE, file_of, noise, tone

TIMEOUT = 60.0  # the first recording of another rate waits for the import of a large library
SHORT, LONG = tone(440), noise(0, 3.0)


BASE, OTHER = audio_base(), audio_base(head=1)
"""Two versions with one backbone."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one version."""
    home = tmp_path_factory.mktemp("audio")
    open_registry(home).publish_mlp(BASE, "sounds")
    return home


@pytest.fixture(scope="module")
def service(home: Path) -> Iterator[RunningService]:
    """Run a service on it."""
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


def by_hand(base: LoadedBase, *recordings: Numbers) -> list[list[float]]:
    """Return the scores of the chain, one recording at a time."""
    rows = [batch_of(prepared(base.input_spec, [(RATE, each)], 10**6), torch.device("cpu")) for each in recordings]
    with torch.inference_mode():
        return [base.chain(base.input_spec.to_input(each)).softmax(dim=1)[0].tolist() for each in rows]


def test_files_and_samples_of_several_lengths_have_an_answer_each(service: RunningService) -> None:
    """In one request, and each as it has it alone; a repeated one comes from the cache."""
    short, long = pb.Example(file=file_of(SHORT, subtype="FLOAT")), samples(LONG)
    together = scores(service, short, long, samples(SHORT))
    assert together[0] == pytest.approx(together[2])
    for example, found in zip((short, long), together, strict=False):
        assert scores(service, example)[0] == pytest.approx(found, abs=1e-5)
    assert scores(service, short, long, samples(SHORT)) == together
    assert scores(service, samples(SHORT, 8000)) != scores(service, samples(SHORT))
    for found, wanted in zip(together, by_hand(BASE, SHORT, LONG, SHORT), strict=True):
        assert [found[label] for label in LABELS] == pytest.approx(wanted, abs=1e-3)  # a file of 16 bits


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
        (samples(SHORT, 10**9), "samples", "a sample rate of 1000000000 Hz is outside of"),
        (pb.Example(file=file_of(LONG, kind="FLAC")[:200]), "file", "recording"),
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


def test_a_second_head_is_loaded_beside_the_first_and_shares_its_stages(service: RunningService, home: Path) -> None:
    """While the service runs; only the head takes memory, and each model gives its own answers."""
    version = open_registry(home).publish_mlp(OTHER, "others").name
    report = service.await_state(version, pb.VERSION_STATE_READY)
    assert 0 < report.resident_bytes - report.shared_bytes < 0.01 * report.resident_bytes
    request = pb.PredictRequest(name="models/others", examples=[samples(SHORT), samples(LONG)])
    for prediction, wanted in zip(
        service.stub.Predict(request, timeout=TIMEOUT).predictions, by_hand(OTHER, SHORT, LONG), strict=True
    ):
        found = {each.label: each.score for each in prediction.classification.scores}
        assert [found[label] for label in LABELS] == pytest.approx(wanted, abs=1e-4)
    assert by_hand(OTHER, SHORT) != by_hand(BASE, SHORT)


def test_a_canary_answers_its_share_and_a_shadow_is_compared(service: RunningService, home: Path) -> None:
    """By the request's key, as for every modality."""
    registry = open_registry(home)
    for base in (BASE, OTHER):
        registry.publish_mlp(base, "canaried")
    first, second = (VersionName("canaried", number) for number in (1, 2))
    registry.store.set_alias(AliasName("canaried", "production"), first, Traffic((Share(2, 50.0),), None))
    service.await_state(second, pb.VERSION_STATE_READY)
    until(lambda: any(each.canaries for each in service.state("canaried").aliases))
    found = {
        service.stub.Predict(
            pb.PredictRequest(name="models/canaried", examples=[samples(SHORT)], routing_key=f"caller {number}"),
            timeout=TIMEOUT,
        ).version
        for number in range(20)
    }
    assert found == {str(first), str(second)}
    registry.store.set_alias(AliasName("canaried", "production"), first, Traffic((), Share(2, 100.0)))
    until(lambda: service.state("canaried").aliases[0].HasField("shadow"))
    service.stub.Predict(pb.PredictRequest(name="models/canaried", examples=[samples(LONG)]), timeout=TIMEOUT)
    until(lambda: service.state("canaried").aliases[0].shadow.compared_count == 1)
    shadow = service.state("canaried").aliases[0].shadow
    right, other = by_hand(BASE, LONG)[0], by_hand(OTHER, LONG)[0]
    assert shadow.max_score_difference == pytest.approx(abs(right[0] - other[0]), abs=1e-4)
