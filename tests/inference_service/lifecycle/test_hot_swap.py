"""What happens to requests while versions come, go and fail."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2
from maas.inference.v1 import inference_pb2 as pb
from PIL import Image
from sqlalchemy import text

from grpc_runtime.settings import StoreSettings
from inference_service.errors import DeviceFailed
from inference_service.pipeline import decoder
from model_store.names import ModelName, VersionName
from tests.inference_service.making import Damage, Recipe, Registry, expected, flip_a_byte, photo, pixels
from tests.inference_service.running import TIMEOUT, RunningService, predict_request, refused, running_service, until

FLOWERS = "models/flowers"
FIRST, SECOND = VersionName("flowers", 1), VersionName("flowers", 2)


@contextmanager
def busy_device(service: RunningService) -> Iterator[None]:
    """Keep the service's device busy while the block runs."""
    taken, free = threading.Event(), threading.Event()

    def hold() -> None:
        taken.set()
        free.wait()

    service.server._scheduler._runner._device_threads.submit(hold)
    assert taken.wait(10)  # from here on, what is in the thread's queue is a batch
    try:
        yield
    finally:
        free.set()


def waiting_rows(service: RunningService) -> int:
    """Return how many rows wait for the device."""
    return service.server._scheduler.capacity.waiting_cost


def queued_rows(service: RunningService) -> int:
    """Return how many of those rows are decoded, and in a queue."""
    return service.server._scheduler.snapshot().num_queued_rows


def has_batch(service: RunningService) -> bool:
    """Say whether a batch was handed to the busy device."""
    return service.server._scheduler.snapshot().num_running_batches > 0


def test_swaps_under_load_fail_no_request(tmp_path: Path, registry: Registry) -> None:
    """Eight clients over several swaps: every answer is that of the version that it names, and the last one wins."""
    recipes = [Recipe(backbone=seed, head=seed) for seed in range(6)]
    registry.publish(recipes[0])
    image = photo(1)
    right = [expected(recipe, [pixels(image)])[0][0].max() for recipe in recipes]
    with running_service(tmp_path) as service:
        service.await_serving()
        done = threading.Event()

        def client() -> list[tuple[str, float]]:
            answers = []
            while not done.is_set():
                answer = service.predict(FLOWERS, image, top_k=1)
                answers.append((answer.version, answer.predictions[0].scores[0].score))
            return answers

        with ThreadPoolExecutor(8) as clients:
            running = [clients.submit(client) for _ in range(8)]
            for recipe in recipes[1:]:
                version = registry.publish(recipe)
                service.await_state(version.name, pb.VERSION_STATE_READY)
            done.set()
            answers = [answer for each in running for answer in each.result()]
        assert service.predict(FLOWERS, image).version == f"{FLOWERS}/versions/6"
    assert len({version for version, _ in answers}) > 1
    for version, score in answers:
        np.testing.assert_allclose(score, right[int(version.rpartition("/")[2]) - 1], atol=1e-5)


def test_a_new_version_answers_soon_after_it_was_published(tmp_path: Path, registry: Registry) -> None:
    """With the service's own poll interval."""
    registry.publish(Recipe(head=1))
    with running_service(tmp_path, poll_seconds=0.1) as service:
        service.await_serving()
        version = registry.publish(Recipe(head=2))
        published = time.monotonic()
        until(lambda: service.predict(FLOWERS, photo(1)).version == str(version.name))
        assert time.monotonic() - published < 2


@pytest.mark.parametrize("damage", [None, flip_a_byte], ids=["missing", "corrupt"])
def test_a_damaged_blob_keeps_the_old_version_until_it_is_healed(
    tmp_path: Path, registry: Registry, damage: Damage | None
) -> None:
    """The state names the blob; storing it again is all it takes."""
    registry.publish(Recipe(head=1))
    with running_service(tmp_path) as service:
        service.await_serving()
        damaged, digest = registry.publish_damaged(Recipe(head=2), "head", damage)
        report = service.await_state(damaged.name, pb.VERSION_STATE_FAILED)
        assert digest in report.reason
        assert service.predict(FLOWERS, photo(1)).version == str(FIRST)
        with refused(grpc.StatusCode.FAILED_PRECONDITION, digest):
            service.predict(str(damaged.name), photo(1))
        (alias,) = service.state().aliases
        assert (alias.version, alias.wanted_version) == (str(FIRST), str(damaged.name))
        registry.heal(Recipe(head=2))
        service.await_state(damaged.name, pb.VERSION_STATE_READY)
        assert service.predict(FLOWERS, photo(1)).version == str(damaged.name)


def test_one_flipped_byte_in_any_blob_keeps_the_old_version(tmp_path: Path, registry: Registry) -> None:
    """The manifest or any stage: the load fails naming the blob, and the old version goes on answering."""
    first = registry.publish(Recipe(head=1))
    # A stage without tensors is the same in every version, and resident already.
    blobs = ["manifest", *(stage.name for stage in first.stages if stage.name != "pool")]
    with running_service(tmp_path) as service:
        service.await_serving()
        before = service.predict(FLOWERS, photo(1)).predictions
        for seed, blob in enumerate(blobs, 2):
            damaged, digest = registry.publish_damaged(Recipe(backbone=seed, head=seed), blob, flip_a_byte)
            assert f"blob {digest} is corrupt" in service.await_state(damaged.name, pb.VERSION_STATE_FAILED).reason
            answer = service.predict(FLOWERS, photo(1))
            assert (answer.version, answer.predictions) == (str(first.name), before)


def test_a_service_with_a_damaged_model_is_not_ready(tmp_path: Path, registry: Registry) -> None:
    """It says what is wrong, answers for the other models, and is SERVING once the model is whole again."""
    damaged, digest = registry.publish_damaged(Recipe(head=1), "layer1", None)
    registry.publish(Recipe(backbone=1), model_id="birds")
    with running_service(tmp_path) as service:
        assert digest in service.await_state(damaged.name, pb.VERSION_STATE_FAILED).reason
        assert service.predict("models/birds", photo(1)).predictions
        health = service.watch_health()
        assert next(health).status == health_pb2.HealthCheckResponse.NOT_SERVING
        reason = service.state("flowers").not_ready_reason
        assert reason.startswith(
            "nothing answers to models/flowers/aliases/production: models/flowers/versions/1 could"
        )
        assert digest in reason
        assert service.state("birds").not_ready_reason == ""
        registry.heal(Recipe(head=1))
        assert next(health).status == health_pb2.HealthCheckResponse.SERVING
        assert service.state("flowers").not_ready_reason == ""


def test_a_request_for_a_version_that_loads_waits_for_it(tmp_path: Path, registry: Registry) -> None:
    """Within its deadline, on both edges: a service that has just begun is no error."""
    registry.publish(Recipe())
    with running_service(tmp_path) as service:
        service.await_serving()
        free = threading.Event()
        service.loader_thread.submit(free.wait, TIMEOUT)
        registry.publish(Recipe(head=2))
        service.await_state(SECOND, pb.VERSION_STATE_LOADING)
        waiting = service.stub.Predict.future(predict_request(str(SECOND), photo(1)), timeout=TIMEOUT)
        with refused(grpc.StatusCode.DEADLINE_EXCEEDED):
            service.stub.Predict(predict_request(str(SECOND), photo(1)), timeout=0.05)
        free.set()
        assert waiting.result().version == str(SECOND)


def test_a_part_that_dies_ends_the_service_after_its_requests_are_answered(
    tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others go on until then: a request that waits for the device is answered well."""
    registry.publish(Recipe())
    with running_service(tmp_path) as service:
        service.await_serving()
        health = service.watch_health()
        assert next(health).status == health_pb2.HealthCheckResponse.SERVING
        with busy_device(service):
            waiting = service.stub.Predict.future(predict_request(FLOWERS, photo(1)))
            until(lambda: has_batch(service))
            monkeypatch.setattr(service.server._manager, "_next_action", _fail)
            registry.publish(Recipe(head=2))
            assert next(health).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert waiting.result().version == str(FIRST)
        until(lambda: bool(service.failures))
        assert isinstance(service.failures[0], ZeroDivisionError)


def test_a_roll_back_is_followed(tmp_path: Path, registry: Registry) -> None:
    """The alias's earlier version is loaded again and answers."""
    registry.publish(Recipe(head=1))
    registry.publish(Recipe(head=2))
    with running_service(tmp_path) as service:
        service.await_serving()
        assert service.predict(FLOWERS, photo(1)).version == str(SECOND)
        registry.point(FIRST)
        service.await_state(FIRST, pb.VERSION_STATE_READY)
        assert service.predict(FLOWERS, photo(1)).version == str(FIRST)
        assert service.predict(str(SECOND), photo(1)).version == str(SECOND)


def test_a_request_in_flight_ends_on_its_version(
    tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old version drains until then, and its memory is free afterwards."""
    registry.publish(Recipe(backbone=1))
    may_decode, decode = threading.Event(), decoder.decoded
    with running_service(tmp_path) as service:
        service.await_serving()
        weights = _weights(service)

        def held(image: Image.Image) -> Image.Image:
            assert may_decode.wait(10)
            return decode(image)

        monkeypatch.setattr(decoder, "decoded", held)
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
    with running_service(tmp_path, max_queue_cost=4, max_images_per_request=4) as service:
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
        assert not any(each.num_leases for each in _served(service))


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
    may_decode, decode, begun = threading.Event(), decoder.decoded, threading.Event()

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
        monkeypatch.setattr(decoder, "decoded", held)
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
            handle = version.backbone[0].module.register_forward_hook(_fail)
        with refused(grpc.StatusCode.INTERNAL, "internal error (request id "):
            service.predict(FLOWERS, photo(1))
        handle.remove()
        assert service.predict(FLOWERS, photo(1)).predictions


def test_a_lost_database_does_not_stop_the_service(tmp_path: Path, registry: Registry) -> None:
    """It answers from what it has, and follows the registry again when that is back."""
    registry.publish(Recipe(head=1))
    database = StoreSettings(home=tmp_path).connect()
    with running_service(tmp_path) as service:
        service.await_serving()
        with database.write() as session:
            session.execute(text("ALTER TABLE changes RENAME TO hidden"))
        for _ in range(5):
            assert service.predict(FLOWERS, photo(1)).version == str(FIRST)
        with database.write() as session:
            session.execute(text("ALTER TABLE hidden RENAME TO changes"))
        registry.publish(Recipe(head=2))
        service.await_state(SECOND, pb.VERSION_STATE_READY)
    database.close()


def _fail(*_: object) -> None:
    raise ZeroDivisionError("secret")


def _served(service: RunningService) -> list[object]:
    return list(service.server._manager._models.by_id["flowers"].versions.values())


def _weights(service: RunningService) -> weakref.ref[object]:
    """Return a weak reference to a tensor of the version that answers now."""
    with service.server._manager.lease(ModelName("flowers")) as version:
        return weakref.ref(next(version.backbone[0].module.parameters()))
