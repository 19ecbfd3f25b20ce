"""What happens to requests while versions come, go and fail."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2
from maas.inference.v1 import inference_pb2 as pb
from maas.open_inference.v2.open_inference_pb2 import ServerReadyRequest
from maas.open_inference.v2.open_inference_pb2_grpc import GRPCInferenceServiceStub
from sqlalchemy import text

from grpc_runtime.settings import StoreSettings
from tests.answers import alike
from tests.inference_service.busy_device import FIRST, FLOWERS, SECOND, busy_device, fail, has_batch
from tests.inference_service.making import Damage, Recipe, Registry, expected, flip_a_byte, photo, pixels
from tests.inference_service.running import TIMEOUT, predict_request, refused, running_service, until


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
                answers.append((answer.version, answer.predictions[0].classification.scores[0].score))
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
            assert answer.version == str(first.name)
            assert alike(answer.predictions, before)


def test_a_service_with_one_damaged_model_serves_the_others(tmp_path: Path, registry: Registry) -> None:
    """It is SERVING, and says what is wrong until the model is whole again."""
    damaged, digest = registry.publish_damaged(Recipe(head=1), "layer1", None)
    registry.publish(Recipe(backbone=1), model_id="birds")
    with running_service(tmp_path) as service:
        service.await_serving()
        assert digest in service.await_state(damaged.name, pb.VERSION_STATE_FAILED).reason
        assert service.predict("models/birds", photo(1)).predictions
        assert digest in service.state("flowers").not_ready_reason
        assert service.state("birds").not_ready_reason == ""
        registry.heal(Recipe(head=1))
        service.await_state(damaged.name, pb.VERSION_STATE_READY)
        assert service.state("flowers").not_ready_reason == ""


def test_a_service_of_which_every_model_is_damaged_is_not_ready(tmp_path: Path, registry: Registry) -> None:
    """Neither for health nor for ServerReady: it was tried, and nothing is served; then one model is whole again."""
    damaged, digest = registry.publish_damaged(Recipe(head=1), "layer1", None)
    with running_service(tmp_path) as service:
        assert digest in service.await_state(damaged.name, pb.VERSION_STATE_FAILED).reason
        health = service.watch_health()
        assert next(health).status == health_pb2.HealthCheckResponse.NOT_SERVING
        reason = service.state("flowers").not_ready_reason
        assert reason.startswith(
            "nothing answers to models/flowers/aliases/production: models/flowers/versions/1 could"
        )
        assert digest in reason
        open_inference = GRPCInferenceServiceStub(service.channel)
        assert not open_inference.ServerReady(ServerReadyRequest()).ready
        registry.heal(Recipe(head=1))
        assert next(health).status == health_pb2.HealthCheckResponse.SERVING
        assert open_inference.ServerReady(ServerReadyRequest()).ready
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
    with running_service(tmp_path, drain_seconds=2.0) as service:  # the watch of its health is open
        service.await_serving()
        health = service.watch_health()
        assert next(health).status == health_pb2.HealthCheckResponse.SERVING
        with busy_device(service):
            waiting = service.stub.Predict.future(predict_request(FLOWERS, photo(1)))
            until(lambda: has_batch(service))
            monkeypatch.setattr(service.server._manager, "_next_action", fail)
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
