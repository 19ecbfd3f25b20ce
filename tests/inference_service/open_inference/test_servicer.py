"""What the Open Inference Protocol says of the server and its models: states, metadata, statistics, settings."""

from __future__ import annotations

import json
from importlib.metadata import version as installed_version
from pathlib import Path

import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from maas.inference.v1 import inference_pb2
from maas.open_inference.v2 import open_inference_pb2 as pb

from tests.inference_service.inferring import OpenService, ask_numbers, described, packed, rows, serving_models
from tests.inference_service.inferring import request as infer_request
from tests.inference_service.making import LABELS, Recipe, open_registry, photo
from tests.inference_service.open_inference.codes import INVALID, NOT_FOUND
from tests.inference_service.running import refused, refused_fields

SERVICE = "inference.GRPCInferenceService"

READY = inference_pb2.VERSION_STATE_READY


def metadata(*tensors: pb.ModelMetadataResponse.TensorMetadata) -> list[tuple[str, str, list[int]]]:
    """Return tensors as they are described."""
    return [(each.name, each.datatype, list(each.shape)) for each in tensors]


def test_the_server_describes_itself(service: OpenService) -> None:
    """It lists the extensions that it has, and no others."""
    assert service.stub.ServerLive(pb.ServerLiveRequest()).live
    assert service.stub.ServerReady(pb.ServerReadyRequest()).ready
    answer = service.stub.ServerMetadata(pb.ServerMetadataRequest())
    assert (answer.name, answer.version) == ("maas", installed_version("maas-transfer"))
    assert list(answer.extensions) == [
        "classification",
        "logging",
        "model_configuration",
        "model_repository",
        "schedule_policy",
        "statistics",
    ]


def test_health_and_reflection_know_the_service(service: OpenService) -> None:
    """As grpcurl and orchestrators ask for them; the messages can be described too."""
    request = health_pb2.HealthCheckRequest(service=SERVICE)
    answer = health_pb2_grpc.HealthStub(service.running.channel).Check(request)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    reflection = reflection_pb2_grpc.ServerReflectionStub(service.running.channel)
    requests = iter(
        [
            reflection_pb2.ServerReflectionRequest(list_services=""),
            reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE),
        ]
    )
    listed, described_file = reflection.ServerReflectionInfo(requests)
    assert SERVICE in {each.name for each in listed.list_services_response.service}
    assert described_file.file_descriptor_response.file_descriptor_proto


@pytest.mark.parametrize(
    ("name", "version", "ready"),
    [
        ("numbers", "", True),
        ("numbers", "1", True),
        ("flowers", "production", True),
        ("numbers", "production", False),
        ("numbers", "2", False),
        ("cars", "", False),
        ("No such model", "x", False),
    ],
)
def test_a_model_is_ready_where_it_would_answer(service: OpenService, name: str, version: str, *, ready: bool) -> None:
    """What is unknown is not ready, and no error."""
    assert service.stub.ModelReady(pb.ModelReadyRequest(name=name, version=version)).ready is ready


def test_an_unnamed_model_is_refused(service: OpenService) -> None:
    """The field is named."""
    for call, request in (
        (service.stub.ModelReady, pb.ModelReadyRequest()),
        (service.stub.ModelMetadata, pb.ModelMetadataRequest()),
        (service.stub.ModelConfig, pb.ModelConfigRequest()),
    ):
        with refused_fields("name"):
            call(request)


def test_the_tensors_of_images_are_described(service: OpenService) -> None:
    """One input, of a fixed shape: a tool fills each that it is told of. A backbone has but one output."""
    answer = service.stub.ModelMetadata(pb.ModelMetadataRequest(name="flowers"))
    assert (answer.name, list(answer.versions), answer.platform) == ("flowers", ["1"], "pytorch_safetensors")
    assert metadata(*answer.inputs) == [("INPUT", "FP32", [-1, 3, 64, 64])]
    outputs = [("SCORES", "FP32", [-1, 3]), ("LOGITS", "FP32", [-1, 3]), ("EMBEDDING", "FP32", [-1, 512])]
    assert metadata(*answer.outputs) == outputs
    base = service.stub.ModelMetadata(pb.ModelMetadataRequest(name="base", version="1"))
    assert metadata(*base.outputs) == outputs[2:]
    assert metadata(*base.inputs) == metadata(*answer.inputs)


def test_the_tensors_of_numbers_are_described(service: OpenService) -> None:
    """One input."""
    answer = service.stub.ModelMetadata(pb.ModelMetadataRequest(name="numbers"))
    assert metadata(*answer.inputs) == [("INPUT", "FP32", [-1, 6])]
    assert metadata(*answer.outputs) == [
        ("SCORES", "FP32", [-1, 3]),
        ("LOGITS", "FP32", [-1, 3]),
        ("EMBEDDING", "FP32", [-1, 12]),
    ]


def test_the_configuration_is_in_tritons_terms(service: OpenService) -> None:
    """What a client reads of it: sizes, tensors without their rows, and how it is scheduled."""
    config = service.stub.ModelConfig(pb.ModelConfigRequest(name="flowers")).config
    assert (config.name, config.platform, config.backend) == ("flowers", "pytorch_safetensors", "pytorch")
    assert config.max_batch_size == 1024
    assert [(each.name, each.data_type, each.format, list(each.dims), each.optional) for each in config.input] == [
        ("INPUT", pb.TYPE_FP32, pb.ModelInput.FORMAT_NCHW, [3, 64, 64], False),
    ]
    assert [(each.name, each.data_type, list(each.dims)) for each in config.output] == [
        ("SCORES", pb.TYPE_FP32, [3]),
        ("LOGITS", pb.TYPE_FP32, [3]),
        ("EMBEDDING", pb.TYPE_FP32, [512]),
    ]
    assert config.WhichOneof("scheduling_choice") == "dynamic_batching"
    assert list(config.dynamic_batching.preferred_batch_size) == [32]
    assert config.dynamic_batching.default_queue_policy.max_queue_size == 1024
    assert list(config.version_policy.specific.versions) == [1]
    assert config.parameters["architecture"].string_value == "squeezenet1_1"
    assert config.parameters["version"].string_value == "models/flowers/versions/1"
    assert config.parameters["temperature"].string_value == "1"
    assert config.parameters["modality"].string_value == "image"
    assert config.parameters["task"].string_value == "classification"
    assert json.loads(config.parameters["alternative_inputs"].string_value) == [
        {"name": "PIXELS", "datatype": "UINT8", "shape": [-1, -1, -1, 3], "alternative": 1},
        {"name": "IMAGE", "datatype": "BYTES", "shape": [-1], "alternative": 2},
    ]
    assert config.HasField("response_cache")
    assert not config.response_cache.enable
    numbers = service.stub.ModelConfig(pb.ModelConfigRequest(name="numbers")).config
    assert numbers.parameters["alternative_inputs"].string_value == "[]"
    assert [(list(each.dims), each.optional) for each in numbers.input] == [([6], False)]


def test_the_temperature_is_told_and_makes_scores_of_logits(tmp_path: Path) -> None:
    """By the config and by the state of the version; SCORES are softmax(LOGITS / T)."""
    with serving_models(tmp_path) as service:
        warm = open_registry(tmp_path).publish(Recipe(head=2, temperature=2.5), model_id="warm")
        assert service.running.await_state(warm.name, READY).temperature == 2.5
        config = service.stub.ModelConfig(pb.ModelConfigRequest(name="warm")).config
        assert config.parameters["temperature"].string_value == "2.5"
        answer = service.infer("warm", described("IMAGE", "BYTES", 1), raw=[packed(photo(1))])
        values = {
            each.name: np.frombuffer(raw, "<f4")
            for each, raw in zip(answer.outputs, answer.raw_output_contents, strict=True)
        }
        powers = np.exp(values["LOGITS"] / 2.5)
        np.testing.assert_allclose(values["SCORES"], powers / powers.sum(), rtol=1e-5)


@pytest.mark.parametrize(("name", "version"), [("cars", ""), ("numbers", "7"), ("numbers", "canary"), ("A b", "")])
def test_what_is_not_served_is_not_found(service: OpenService, name: str, version: str) -> None:
    """By every RPC that describes a model."""
    for call, request in (
        (service.stub.ModelMetadata, pb.ModelMetadataRequest(name=name, version=version)),
        (service.stub.ModelConfig, pb.ModelConfigRequest(name=name, version=version)),
        (service.stub.ModelStatistics, pb.ModelStatisticsRequest(name=name, version=version)),
    ):
        with refused(NOT_FOUND):
            call(request)


def test_statistics_count_what_was_asked(tmp_path: Path) -> None:
    """Requests, rows and batches of both protocols, with times that are measured."""
    with serving_models(tmp_path) as service:
        for num_rows in (1, 3):
            service.stub.ModelInfer(ask_numbers(rows(num_rows)))
        service.infer("flowers", described("IMAGE", "BYTES", 1), raw=[packed(photo(1))])
        service.running.predict("models/flowers", photo(1), photo(2))
        with refused(INVALID):
            service.running.predict("models/flowers", b"no image")
        every = service.stub.ModelStatistics(pb.ModelStatisticsRequest()).model_stats
        assert [(each.name, each.version) for each in every] == [("base", "1"), ("flowers", "1"), ("numbers", "1")]
        base, flowers, numbers = every
        assert (base.inference_count, base.execution_count, base.last_inference) == (0, 0, 0)
        assert (numbers.inference_count, numbers.execution_count) == (4, 2)
        stats = numbers.inference_stats
        assert [each.count for each in (stats.success, stats.fail, stats.queue, stats.compute_infer)] == [2, 0, 2, 2]
        assert 0 < stats.queue.ns + stats.compute_infer.ns < stats.success.ns
        assert (stats.compute_input.count, stats.compute_input.ns) == (2, 0)  # nothing was decoded
        assert [(each.batch_size, each.compute_infer.count) for each in numbers.batch_stats] == [(1, 1), (3, 1)]
        assert sum(each.compute_infer.ns for each in numbers.batch_stats) == stats.compute_infer.ns
        assert (flowers.inference_count, flowers.inference_stats.success.count) == (3, 2)
        assert (flowers.inference_stats.fail.count, flowers.inference_stats.compute_input.count) == (1, 2)
        assert 0 < flowers.inference_stats.compute_input.ns < flowers.inference_stats.success.ns
        assert flowers.last_inference > 1_700_000_000_000
        assert [(each.type, each.byte_size > 0) for each in flowers.memory_usage] == [("CPU", True)]
        one = service.stub.ModelStatistics(pb.ModelStatisticsRequest(name="numbers", version="1")).model_stats
        assert list(one) == [numbers]
        with refused_fields("version"):
            service.stub.ModelStatistics(pb.ModelStatisticsRequest(version="1"))


def check_counts(statistics: pb.ModelStatistics) -> None:
    """Check what load generators take for granted of counts at any time."""
    stats, misses = statistics.inference_stats, statistics.inference_stats.cache_miss.count
    computed = {each.count for each in (stats.compute_input, stats.compute_infer, stats.compute_output)}
    assert computed == {stats.success.count - stats.cache_hit.count}, stats
    assert stats.queue.count == stats.success.count
    assert misses in {0, *computed}
    assert (
        stats.queue.ns + stats.compute_input.ns + stats.compute_infer.ns + stats.compute_output.ns <= stats.success.ns
    )
    for batches in statistics.batch_stats:
        assert batches.compute_input.count == batches.compute_infer.count == batches.compute_output.count
    assert statistics.execution_count == sum(each.compute_infer.count for each in statistics.batch_stats)


@pytest.mark.parametrize("cache_mb", [0, 16])
def test_the_counts_of_a_request_change_at_one_moment(tmp_path: Path, cache_mb: int) -> None:
    """Whenever they are asked for: while requests run, and after some that fail or come from the cache."""
    with serving_models(tmp_path, response_cache_mb=cache_mb) as service:
        asked = pb.ModelStatisticsRequest()
        config = service.stub.ModelConfig(pb.ModelConfigRequest(name="numbers")).config
        assert config.response_cache.enable == bool(cache_mb)
        image = [described("IMAGE", "BYTES", 1)]
        for number in range(20):
            calls = [
                service.stub.ModelInfer.future(ask_numbers(rows(2, seed=number % 5)), timeout=20),
                service.stub.ModelInfer.future(infer_request("flowers", *image, raw=[packed(photo(1))]), timeout=20),
                service.stub.ModelInfer.future(infer_request("flowers", *image, raw=[packed(b"no image")]), timeout=20),
            ]
            while not all(call.done() for call in calls):
                for each in service.stub.ModelStatistics(asked, timeout=20).model_stats:
                    check_counts(each)
        _, flowers, numbers = service.stub.ModelStatistics(asked, timeout=20).model_stats
        assert [each.inference_stats.success.count for each in (flowers, numbers)] == [20, 20]
        assert flowers.inference_stats.fail.count == 20
        assert numbers.inference_stats.cache_hit.count == (15 if cache_mb else 0)
        assert numbers.inference_count == (10 if cache_mb else 40)


def test_both_protocols_answer_alike(service: OpenService) -> None:
    """The same photo gives the same best label."""
    ours = service.running.predict("models/flowers", photo(3)).predictions[0].classification.scores[0]
    answer = service.infer("flowers", described("IMAGE", "BYTES", 1), raw=[packed(photo(3))])
    (scores,) = [
        raw for each, raw in zip(answer.outputs, answer.raw_output_contents, strict=True) if each.name == "SCORES"
    ]
    values = memoryview(scores).cast("f").tolist()
    assert LABELS[values.index(max(values))] == ours.label
    assert max(values) == pytest.approx(ours.score)
