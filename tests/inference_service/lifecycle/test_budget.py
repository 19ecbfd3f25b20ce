"""A real service with less memory than its registry has models."""

from __future__ import annotations

import gc
import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest
from maas.inference.v1 import inference_pb2 as pb
from maas.open_inference.v2 import open_inference_pb2, open_inference_pb2_grpc

from inference_service.models.loader import Loader
from inference_service.models.resident import Stage
from model_store.names import VersionName
from tests.inference_service.making import LABELS, Recipe, Registry, expected, photo, pixels
from tests.inference_service.running import TIMEOUT, RunningService, refused, running_service, until

RECIPES = {f"model-{seed}": Recipe(backbone=seed, head=seed) for seed in range(4)}
TWO_OF_THEM = 6  # MiB: one takes 2.8


def loader_of(service: RunningService) -> Loader:
    """Return what loads, to look at what is in memory."""
    loader = service.server._manager._transitions._loading._load.__self__  # type: ignore[attr-defined]
    assert isinstance(loader, Loader)
    return loader


def scores(service: RunningService, name: str, image: bytes) -> list[float]:
    """Ask for a model's scores, in the order of the labels."""
    (prediction,) = service.predict(name, image).predictions
    found = {each.label: each.score for each in prediction.classification.scores}
    return [found[label] for label in LABELS]


def test_more_models_than_memory_holds_are_all_answered(tmp_path: Path, registry: Registry) -> None:
    """Eight callers of four models, of which two fit: each answer is right, and memory stays within the budget."""
    for model_id, recipe in RECIPES.items():
        registry.publish(recipe, model_id)
    image = photo(1)
    right = {model_id: expected(recipe, [pixels(image)])[0][0] for model_id, recipe in RECIPES.items()}
    with running_service(tmp_path, memory_budget_mb=TWO_OF_THEM) as service, ThreadPoolExecutor(8) as callers:
        service.await_serving()
        loader = loader_of(service)
        assert loader.resident_bytes <= TWO_OF_THEM * 2**20

        def ask(model_id: str) -> None:
            np.testing.assert_allclose(scores(service, f"models/{model_id}", image), right[model_id], atol=1e-5)

        list(callers.map(ask, itertools.islice(itertools.cycle(RECIPES), 48)))
        until(lambda: loader.resident_bytes <= TWO_OF_THEM * 2**20)
        states = [service.state(model_id).versions[0] for model_id in RECIPES]
        assert sorted(each.state for each in states) == [pb.VERSION_STATE_READY] * 2 + [pb.VERSION_STATE_UNLOADED] * 2
        assert all(each.HasField("last_used_time") for each in states)


def test_every_version_of_the_registry_answers_on_demand(tmp_path: Path, registry: Registry) -> None:
    """By number, though no policy wants it; a deleted one does not, and one that does not exist is not found."""
    first, second = registry.publish(Recipe(head=1)), registry.publish(Recipe(head=2))
    image = photo(1)
    with running_service(tmp_path, on_demand=True, pinned=("models/flowers",)) as service:
        service.await_serving()
        right = expected(Recipe(head=1), [pixels(image)])[0][0]
        np.testing.assert_allclose(scores(service, str(first.name), image), right, atol=1e-5)
        assert [each.pinned for each in service.state().versions] == [True, False]
        registry.store.delete_version(first.name)
        service.await_state(first.name, pb.VERSION_STATE_UNLOADED)
        with refused(grpc.StatusCode.FAILED_PRECONDITION, "deleted"):
            service.predict(str(first.name), image)
        with refused(grpc.StatusCode.NOT_FOUND, "versions/9"):
            service.predict("models/flowers/versions/9", image)
        with refused(grpc.StatusCode.NOT_FOUND, "models/cars"):
            service.predict("models/cars", image)
        assert service.predict("models/flowers", image).version == str(second.name)


def test_a_model_that_only_the_registry_knows_is_loaded_on_demand(tmp_path: Path, registry: Registry) -> None:
    """Where nothing is loaded by itself; its alias is followed, and its deletion too."""
    with running_service(tmp_path, on_demand=True, num_newest_versions=0, serve_aliases=False) as service:
        service.await_serving()
        first = registry.publish(Recipe(head=1))
        assert service.predict("models/flowers", photo(1)).version == str(first.name)
        second = registry.publish(Recipe(head=2))
        until(lambda: service.predict("models/flowers", photo(1)).version == str(second.name))
        ready = open_inference_pb2.ModelReadyRequest(name="flowers", version="1")
        stub = open_inference_pb2_grpc.GRPCInferenceServiceStub(service.channel)
        assert stub.ModelReady(ready, timeout=TIMEOUT).ready
        registry.store.delete_model("flowers", force=True)
        until(lambda: loader_of(service).resident_bytes == 0)
        with refused(grpc.StatusCode.FAILED_PRECONDITION, "deleted"):
            service.predict("models/flowers", photo(1))


@pytest.mark.parametrize("num_rounds", [4, pytest.param(15, marks=pytest.mark.slow)])
def test_cycles_of_loads_and_unloads_leave_nothing_behind(tmp_path: Path, registry: Registry, num_rounds: int) -> None:
    """Of two models of which one fits, each loaded once a round: neither stages nor memory grow."""
    for model_id in ("model-0", "model-1"):
        registry.publish(RECIPES[model_id], model_id)
    with running_service(tmp_path, memory_budget_mb=TWO_OF_THEM // 2) as service:
        service.await_serving()
        counts = []
        for _ in range(num_rounds):
            for model_id in ("model-0", "model-1"):
                assert service.predict(f"models/{model_id}", photo(1)).predictions
            gc.collect()
            num_stages = sum(type(each) is Stage for each in gc.get_objects())
            counts.append((num_stages, loader_of(service).resident_bytes))
        assert len(set(counts[1:])) == 1
        report = service.await_state(VersionName("model-1", 1), pb.VERSION_STATE_READY)
        assert report.load_duration.ToNanoseconds() > 0
