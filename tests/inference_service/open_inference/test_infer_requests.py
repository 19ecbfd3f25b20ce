"""Which model, deadline and priority a request asks for, and how it is refused where nothing answers."""

from __future__ import annotations

import threading
from pathlib import Path

import grpc
import pytest
import torch
from maas.inference.v1 import inference_pb2
from maas.open_inference.v2 import open_inference_pb2 as pb
from maas.open_inference.v2 import open_inference_pb2_grpc

from tests.inference_service.inferring import (
    OpenService,
    Parameter,
    arrays,
    ask_numbers,
    assert_same_outputs,
    request,
    rows,
    serving_models,
)
from tests.inference_service.making import Recipe, mlp, open_registry
from tests.inference_service.open_inference.codes import INVALID, NOT_FOUND
from tests.inference_service.open_inference.infer_inputs import X, parameters
from tests.inference_service.running import refused, refused_fields, running_service, until


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
    with serving_models(tmp_path, max_batch_cost="values=1") as service:
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
            until(lambda: scheduler.snapshot().waiting_cost == 3)
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
    answer = service.stub.ModelInfer(ask_numbers(X, parameters=more))
    assert_same_outputs(answer, service.stub.ModelInfer(ask_numbers(X)))


def test_a_full_queue_is_told(tmp_path: Path) -> None:
    """RESOURCE_EXHAUSTED, as for every other request; what no queue could hold is told apart."""
    limits = {"max_queue_cost": "image=3,values=3", "max_examples_per_request": 3}
    with serving_models(tmp_path, **limits) as service:
        scheduler = service.running.server._scheduler
        with service.busy_device():
            calls = [service.stub.ModelInfer.future(ask_numbers(rows(1)))]
            until(lambda: scheduler.snapshot().num_running_batches == 1)
            calls += [service.stub.ModelInfer.future(ask_numbers(rows(2)))]
            until(lambda: scheduler.snapshot().waiting_cost == 2)
            with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "no room for 2 more"):
                service.stub.ModelInfer(ask_numbers(rows(2)))
            scheduler.capacity("values").max_cost = 1
            with refused_fields("request"):
                service.stub.ModelInfer(ask_numbers(rows(2)))
        assert all(each.result() for each in calls)


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
