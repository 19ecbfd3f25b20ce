"""Requests that are queued or on the device while versions change, callers leave and the device fails."""

from __future__ import annotations

import threading
import weakref
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2
from maas.inference.v1 import inference_pb2 as pb
from PIL import Image

from inference_service.errors import DeviceFailed
from model_store.modalities.image import spec as spec_module
from model_store.names import ModelName
from tests.inference_service.busy_device import (
    FIRST,
    FLOWERS,
    SECOND,
    busy_device,
    fail,
    has_batch,
    queued_rows,
    served,
    waiting_rows,
)
from tests.inference_service.making import Recipe, Registry, photo
from tests.inference_service.running import TIMEOUT, RunningService, predict_request, refused, running_service, until


def test_a_request_in_flight_ends_on_its_version(
    tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old version drains until then, and its memory is free afterwards."""
    registry.publish(Recipe(backbone=1))
    may_decode, decode = threading.Event(), spec_module.decoded
    with running_service(tmp_path) as service:
        service.await_serving()
        weights = _weights(service)

        def held(image: Image.Image) -> Image.Image:
            assert may_decode.wait(10)
            return decode(image)

        monkeypatch.setattr(spec_module, "decoded", held)
        in_flight = service.stub.Predict.future(predict_request(FLOWERS, photo(1)))
        until(lambda: waiting_rows(service) == 1)
        registry.publish(Recipe(backbone=2))
        service.await_state(FIRST, pb.VERSION_STATE_DRAINING)
        assert weights() is not None
        may_decode.set()
        assert in_flight.result().version == str(FIRST)
        service.await_state(FIRST, pb.VERSION_STATE_UNLOADED)
        assert service.predict(FLOWERS, photo(1)).version == str(SECOND)
        until(lambda: weights() is None)


def test_a_full_queue_refuses_at_once(tmp_path: Path, registry: Registry) -> None:
    """Rows count, not requests; what waits is answered once the device is free."""
    registry.publish(Recipe())
    with running_service(tmp_path, max_queue_cost="image=4,values=4", max_examples_per_request=4) as service:
        service.await_serving()
        with busy_device(service):
            running = service.stub.Predict.future(predict_request(FLOWERS, photo(1)))
            until(lambda: has_batch(service))
            queued = service.stub.Predict.future(predict_request(FLOWERS, *[photo(1)] * 3))
            until(lambda: waiting_rows(service) == 3)
            with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "try again later"):
                service.predict(FLOWERS, photo(1), photo(1))
        assert [len(each.result().predictions) for each in (running, queued)] == [1, 3]


def test_a_request_whose_caller_left_never_reaches_the_device(tmp_path: Path, registry: Registry) -> None:
    """Cancelled, or past its deadline: both are dropped when the next batch is formed, and counted."""
    registry.publish(Recipe())
    with running_service(tmp_path) as service:
        service.await_serving()
        counters = service.server._scheduler.counters
        with busy_device(service):
            running = service.stub.Predict.future(predict_request(FLOWERS, photo(1)))
            until(lambda: has_batch(service))
            cancelled = service.stub.Predict.future(predict_request(FLOWERS, photo(1), photo(2)))
            expiring = service.stub.Predict.future(predict_request(FLOWERS, *[photo(1)] * 3), timeout=1.5)
            until(lambda: queued_rows(service) == 5)
            cancelled.cancel()
            with refused(grpc.StatusCode.DEADLINE_EXCEEDED):
                expiring.result()
        assert running.result().predictions
        until(lambda: counters.num_cancelled + counters.num_expired == 2)
        assert counters.num_rows == 1
        assert waiting_rows(service) == 0
        assert not any(each.num_leases for each in served(service))


def test_a_device_that_fails_for_good_ends_the_service(
    tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Callers are told, health turns, and the process ends: whoever looks after it starts it anew."""

    def fail(*_: object) -> None:
        raise DeviceFailed("the device is gone")

    registry.publish(Recipe())
    with running_service(tmp_path, drain_seconds=0.5) as service:
        service.await_serving()
        health = service.watch_health()
        assert next(health).status == health_pb2.HealthCheckResponse.SERVING
        with busy_device(service):
            waiting = [service.stub.Predict.future(predict_request(FLOWERS, photo(1)))]
            until(lambda: has_batch(service))
            waiting += [service.stub.Predict.future(predict_request(FLOWERS, photo(1))) for _ in range(2)]
            until(lambda: queued_rows(service) == 2)
            monkeypatch.setattr(service.server._scheduler._runner, "_run_batch", fail)
        for each in waiting:
            with refused(grpc.StatusCode.UNAVAILABLE, "the device is gone"):
                each.result()
        assert next(health).status == health_pb2.HealthCheckResponse.NOT_SERVING
        until(lambda: bool(service.failures))


def test_a_request_that_is_decoded_is_answered_when_the_device_fails(
    tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, and not when its images are decoded."""
    may_decode, decode, begun = threading.Event(), spec_module.decoded, threading.Event()

    def held(image: Image.Image) -> Image.Image:
        if not begun.is_set():
            begun.set()
            assert may_decode.wait(2 * TIMEOUT)
        return decode(image)

    def fail(*_: object) -> None:
        raise DeviceFailed("the device is gone")

    registry.publish(Recipe())
    with running_service(tmp_path, drain_seconds=0.5) as service:
        service.await_serving()
        monkeypatch.setattr(spec_module, "decoded", held)
        monkeypatch.setattr(service.server._scheduler._runner, "_run_batch", fail)
        decoding = service.stub.Predict.future(predict_request(FLOWERS, photo(1)), timeout=TIMEOUT)
        assert begun.wait(TIMEOUT)
        try:
            with refused(grpc.StatusCode.UNAVAILABLE, "the device is gone"):
                service.predict(FLOWERS, photo(1))
            with refused(grpc.StatusCode.UNAVAILABLE, "the device is gone"):
                decoding.result()
        finally:
            may_decode.set()


def test_a_fault_in_a_batch_is_answered_with_a_request_id(tmp_path: Path, registry: Registry) -> None:
    """Its text stays inside, and the next request is answered."""
    registry.publish(Recipe())
    with running_service(tmp_path) as service:
        service.await_serving()
        with service.server._manager.lease(ModelName("flowers")) as version:
            handle = version.backbone[0].module.register_forward_hook(fail)
        with refused(grpc.StatusCode.INTERNAL, "internal error (request id "):
            service.predict(FLOWERS, photo(1))
        handle.remove()
        assert service.predict(FLOWERS, photo(1)).predictions


def _weights(service: RunningService) -> weakref.ref[object]:
    """Return a weak reference to a tensor of the version that answers now."""
    with service.server._manager.lease(ModelName("flowers")) as version:
        return weakref.ref(next(version.backbone[0].module.parameters()))
