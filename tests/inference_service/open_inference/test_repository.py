"""The repository's calls: the index of versions, and loading and unloading models."""

from __future__ import annotations

import threading
from pathlib import Path

from maas.inference.v1 import inference_pb2
from maas.open_inference.v2 import open_inference_pb2 as pb

from model_store.names import AliasName, VersionName
from tests.inference_service.inferring import OpenService, ask_numbers, rows, serving_models
from tests.inference_service.making import Recipe, mlp, open_registry, photo
from tests.inference_service.open_inference.codes import FAILED_PRECONDITION, NOT_FOUND, UNAVAILABLE, UNIMPLEMENTED
from tests.inference_service.running import refused, until


def index(service: OpenService, *, ready: bool = False) -> list[tuple[str, str, str]]:
    """Return the versions that are listed."""
    models = service.stub.RepositoryIndex(pb.RepositoryIndexRequest(ready=ready)).models
    return [(each.name, each.version, each.state) for each in models]


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
        service.running.await_state(VersionName("numbers", 2), inference_pb2.VERSION_STATE_READY)
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
