"""What the Open Inference Protocol says of the server and its models: states, metadata, statistics, settings."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from importlib.metadata import version as installed_version
from pathlib import Path

import grpc
import numpy as np
import pytest
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from maas.inference.v1 import inference_pb2
from maas.open_inference.v2 import open_inference_pb2 as pb

from grpc_runtime.logs import log_level as current_level
from grpc_runtime.logs import set_log_level
from model_store.names import AliasName, VersionName
from tests.inference_service.inferring import OpenService, ask_numbers, described, packed, rows, serving_models
from tests.inference_service.inferring import request as infer_request
from tests.inference_service.making import LABELS, Recipe, mlp, open_registry, photo
from tests.inference_service.running import refused, refused_fields, until

SERVICE = "inference.GRPCInferenceService"
INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
UNIMPLEMENTED, FAILED_PRECONDITION = grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.FAILED_PRECONDITION
READY = inference_pb2.VERSION_STATE_READY


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenService]:
    """A service with a classifier, a backbone and a model of numbers."""
    with serving_models(tmp_path_factory.mktemp("home")) as serving:
        yield serving


@pytest.fixture
def log_level() -> Iterator[None]:
    """Put the process's log level back afterwards."""
    loggers = logging.getLogger(), logging.getLogger("maas")
    levels, configuration = [each.level for each in loggers], structlog.get_config()
    set_log_level("info")
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
    structlog.configure(**configuration)


def metadata(*tensors: pb.ModelMetadataResponse.TensorMetadata) -> list[tuple[str, str, list[int]]]:
    """Return tensors as they are described."""
    return [(each.name, each.datatype, list(each.shape)) for each in tensors]


def index(service: OpenService, *, ready: bool = False) -> list[tuple[str, str, str]]:
    """Return the versions that are listed."""
    models = service.stub.RepositoryIndex(pb.RepositoryIndexRequest(ready=ready)).models
    return [(each.name, each.version, each.state) for each in models]


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
    assert config.max_batch_size == 256
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
    assert json.loads(config.parameters["alternative_inputs"].string_value) == [
        {"name": "PIXELS", "datatype": "UINT8", "shape": [-1, -1, -1, 3]},
        {"name": "IMAGE", "datatype": "BYTES", "shape": [-1]},
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


def test_the_index_tells_where_versions_stand(tmp_path: Path) -> None:
    """Ready, loading, failed with the reason, unloading and gone."""
    with serving_models(tmp_path, retry_first_seconds=60.0) as service:
        registry = open_registry(tmp_path)
        served = [("base", "1", "READY"), ("flowers", "1", "READY"), ("numbers", "1", "READY")]
        assert index(service) == index(service, ready=True) == served
        broken, digest = registry.publish_damaged(Recipe(head=5), "head", lambda data: data[:-1])
        service.running.await_state(broken.name, inference_pb2.VERSION_STATE_FAILED)
        assert ("flowers", "2", "UNAVAILABLE") in index(service)
        assert index(service, ready=True) == served
        (reason,) = [
            each.reason
            for each in service.stub.RepositoryIndex(pb.RepositoryIndexRequest()).models
            if each.version == "2"
        ]
        assert digest in reason
        free = threading.Event()
        blocked = service.running.loader_thread.submit(free.wait, 20)
        until(lambda: service.running.loader_thread._work_queue.qsize() == 0)
        registry.publish_mlp(mlp(seed=1))
        until(lambda: ("numbers", "2", "LOADING") in index(service))
        free.set()
        assert blocked.result()
        service.running.await_state(VersionName("numbers", 1), inference_pb2.VERSION_STATE_UNLOADED)
        assert ("numbers", "1", "UNAVAILABLE") in index(service)
        service.running.await_state(VersionName("numbers", 2), READY)
        with service.busy_device():
            asked = service.stub.ModelInfer.future(ask_numbers(rows()))
            numbers = service.running.server._manager._models.by_id["numbers"]
            until(lambda: numbers.versions[VersionName("numbers", 2)].num_leases == 1)
            registry.store.delete_model("numbers", force=True)
            until(lambda: ("numbers", "2", "UNLOADING") in index(service))
        assert asked.result(20).model_version == "2"


def test_load_waits_until_the_model_answers(tmp_path: Path) -> None:
    """Whether it loads, has not been heard of yet, or is ready."""
    with serving_models(tmp_path) as service:
        load = service.stub.RepositoryModelLoad
        assert load(pb.RepositoryModelLoadRequest(model_name="numbers")) == pb.RepositoryModelLoadResponse()
        free = threading.Event()
        blocked = service.running.loader_thread.submit(free.wait, 20)
        open_registry(tmp_path).publish_mlp(mlp(), "late")
        waiting = load.future(pb.RepositoryModelLoadRequest(model_name="late"), timeout=20)
        service.running.await_state(VersionName("late", 1), inference_pb2.VERSION_STATE_LOADING)
        assert not waiting.done()
        free.set()
        assert blocked.result()
        waiting.result()
        assert service.stub.ModelReady(pb.ModelReadyRequest(name="late")).ready


def test_what_the_store_does_not_want_served_is_not_loaded(tmp_path: Path) -> None:
    """The message says what decides; an unknown model, and one that cannot be loaded, are other errors."""
    with serving_models(tmp_path, num_newest_versions=0) as service:
        registry = open_registry(tmp_path)
        load = service.stub.RepositoryModelLoad
        with refused(FAILED_PRECONDITION, "maas alias set"):
            load(pb.RepositoryModelLoadRequest(model_name="numbers"), timeout=20)
        for unknown in ("cars", "No such model"):
            with refused(NOT_FOUND):
                load(pb.RepositoryModelLoadRequest(model_name=unknown), timeout=20)
        registry.point(VersionName("numbers", 1), "canary")
        load(pb.RepositoryModelLoadRequest(model_name="numbers"), timeout=20)
        registry.store.delete_alias(AliasName("flowers", "production"))
        until(lambda: not any(name == "flowers" for name, _, _ in index(service)))
        registry.publish_damaged(Recipe(head=5), "head", lambda data: data[:-1])
        with refused(FAILED_PRECONDITION, "could not be loaded"):
            load(pb.RepositoryModelLoadRequest(model_name="flowers"), timeout=20)


def test_an_unloaded_model_stays_so_until_it_is_loaded(tmp_path: Path) -> None:
    """Requests are refused meanwhile, and a version that is published then waits too; other models go on."""
    with serving_models(tmp_path) as service:
        unload, load = service.stub.RepositoryModelUnload, service.stub.RepositoryModelLoad
        with refused(NOT_FOUND, "models/cars"):
            unload(pb.RepositoryModelUnloadRequest(model_name="cars"))
        for _ in range(2):
            assert unload(pb.RepositoryModelUnloadRequest(model_name="numbers")) == pb.RepositoryModelUnloadResponse()
            assert ("numbers", "1", "UNAVAILABLE") in index(service)
        assert not service.stub.ModelReady(pb.ModelReadyRequest(name="numbers")).ready
        open_registry(tmp_path).publish_mlp(mlp(seed=1))
        service.running.await_state(VersionName("numbers", 2), inference_pb2.VERSION_STATE_UNLOADED)
        for version in ("", "1", "2"):
            with refused(UNAVAILABLE, "RepositoryModelLoad"):
                service.stub.ModelInfer(ask_numbers(rows(), model_version=version))
        assert service.running.predict("models/flowers", photo(1)).predictions
        load(pb.RepositoryModelLoadRequest(model_name="numbers"), timeout=20)
        assert service.stub.ModelInfer(ask_numbers(rows())).model_version == "2"


def test_an_unload_ends_when_the_last_request_has(tmp_path: Path) -> None:
    """That one is answered; new ones are refused at once."""
    with serving_models(tmp_path) as service:
        with service.busy_device():
            asked = service.stub.ModelInfer.future(ask_numbers(rows()), timeout=20)
            numbers = service.running.server._manager._models.by_id["numbers"].versions[VersionName("numbers", 1)]
            until(lambda: numbers.num_leases == 1)
            unloading = service.stub.RepositoryModelUnload.future(
                pb.RepositoryModelUnloadRequest(model_name="numbers"), timeout=20
            )
            until(lambda: ("numbers", "1", "UNLOADING") in index(service))
            with refused(UNAVAILABLE):
                service.stub.ModelInfer(ask_numbers(rows()), timeout=20)
            assert not unloading.done()
        assert asked.result().model_version == "1"
        unloading.result()
        assert numbers.resident is None


def test_a_pinned_model_is_not_unloaded(tmp_path: Path) -> None:
    """The message names the setting."""
    with serving_models(tmp_path, pinned=("models/numbers",)) as service:
        with refused(FAILED_PRECONDITION, "MAAS_INFERENCE_PINNED"):
            service.stub.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name="numbers"))
        assert service.stub.ModelReady(pb.ModelReadyRequest(name="numbers")).ready


def test_there_is_one_repository_and_one_configuration(service: OpenService) -> None:
    """What chooses another is not offered."""
    config = {"config": pb.ModelRepositoryParameter(string_param="{}")}
    for call, request in (
        (service.stub.RepositoryIndex, pb.RepositoryIndexRequest(repository_name="x")),
        (service.stub.RepositoryModelLoad, pb.RepositoryModelLoadRequest(repository_name="x", model_name="numbers")),
        (service.stub.RepositoryModelLoad, pb.RepositoryModelLoadRequest(model_name="numbers", parameters=config)),
        (
            service.stub.RepositoryModelUnload,
            pb.RepositoryModelUnloadRequest(repository_name="x", model_name="numbers"),
        ),
        (service.stub.CudaSharedMemoryStatus, pb.CudaSharedMemoryStatusRequest()),
        (service.stub.CudaSharedMemoryRegister, pb.CudaSharedMemoryRegisterRequest(name="x")),
        (service.stub.CudaSharedMemoryUnregister, pb.CudaSharedMemoryUnregisterRequest()),
    ):
        with refused(UNIMPLEMENTED):
            call(request)


def test_nothing_is_traced(service: OpenService) -> None:
    """That can be read, and not changed."""
    settings = service.stub.TraceSetting(pb.TraceSettingRequest(model_name="numbers")).settings
    assert {name: list(each.value) for name, each in settings.items()} == {"trace_level": ["OFF"]}
    change = {"trace_level": pb.TraceSettingRequest.SettingValue(value=["TIMESTAMPS"])}
    with refused(UNIMPLEMENTED, "nothing is traced"):
        service.stub.TraceSetting(pb.TraceSettingRequest(settings=change))


def log_settings(service: OpenService, **changes: bool | int | str) -> dict[str, bool | int | str]:
    """Change log settings and return all of them."""
    kinds = {bool: "bool_param", int: "uint32_param", str: "string_param"}
    setting = pb.LogSettingsRequest.SettingValue
    asked = {name: setting(**{kinds[type(value)]: value}) for name, value in changes.items()}
    settings = service.stub.LogSettings(pb.LogSettingsRequest(settings=asked)).settings
    return {name: getattr(each, each.WhichOneof("parameter_choice")) for name, each in settings.items()}


@pytest.mark.usefixtures("log_level")
def test_the_log_level_is_read_and_changed(service: OpenService) -> None:
    """For the whole process, and as one level: what is verbose comes with information."""
    at_info = {
        "log_file": "",
        "log_info": True,
        "log_warnings": True,
        "log_errors": True,
        "log_verbose_level": 0,
        "log_format": "default",
    }
    assert log_settings(service) == at_info
    assert log_settings(service, log_verbose_level=3) == {**at_info, "log_verbose_level": 1}
    assert (current_level(), structlog.get_logger().is_enabled_for(logging.DEBUG)) == ("debug", True)
    assert logging.getLogger().level == logging.WARNING  # of libraries
    quiet = log_settings(service, log_verbose_level=0, log_info=False)
    assert (quiet["log_info"], quiet["log_warnings"]) == (False, True)
    assert (current_level(), structlog.get_logger().is_enabled_for(logging.INFO)) == ("warning", False)
    assert log_settings(service, log_warnings=False)["log_errors"]
    assert current_level() == "error"
    assert logging.getLogger().level == logging.ERROR


@pytest.mark.usefixtures("log_level")
@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"log_colour": True}, "has an unknown 'log_colour'"),
        ({"log_info": 1}, "settings[log_info]: must be a bool_param"),
        ({"log_verbose_level": True}, "settings[log_verbose_level]: must be a uint32_param"),
        ({"log_file": "/tmp/log"}, "settings: do not fit together"),  # noqa: S108
        ({"log_errors": False}, "settings: do not fit together"),
        ({"log_warnings": False}, "settings: do not fit together"),
        ({"log_format": "ISO8601"}, "settings: do not fit together"),
    ],
)
def test_log_settings_that_cannot_be_are_refused(
    service: OpenService, changes: dict[str, bool | int | str], text: str
) -> None:
    """Nothing changes then."""
    with refused(INVALID, text):
        log_settings(service, **changes)
    assert current_level() == "info"


def test_a_log_setting_needs_a_value(service: OpenService) -> None:
    """It is named."""
    empty = {"log_info": pb.LogSettingsRequest.SettingValue()}
    with refused_fields("settings['log_info']"):
        service.stub.LogSettings(pb.LogSettingsRequest(settings=empty))


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
