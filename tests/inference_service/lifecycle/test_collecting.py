"""Serving beside a collector: what is served goes on while other versions are deleted, purged and collected."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import grpc
from maas.inference.v1 import inference_pb2 as pb

from model_store.names import AliasName
from model_store.registry.models import ModelStore
from model_store.upkeep.fsck import Checker
from model_store.upkeep.gc import Collector
from tests.inference_service.making import Recipe, Registry, photo
from tests.inference_service.running import refused, running_service
from tests.model_store.making import age

FLOWERS = "models/flowers"


def test_what_is_served_goes_on_while_a_relative_is_collected(tmp_path: Path, registry: Registry) -> None:
    """Two versions share a backbone; the blobs of one go for good under load, and the other answers every request."""
    store = registry.store
    gone, kept = (
        registry.publish(Recipe(head=head), alias=alias) for head, alias in ((1, "canary"), (2, "production"))
    )
    with running_service(tmp_path) as service:
        for version in (gone, kept):
            service.await_state(version.name, pb.VERSION_STATE_READY)
        done = threading.Event()

        def client() -> list[str]:
            answers = []
            while not done.is_set():
                answers.append(service.predict(FLOWERS, photo(1)).version)
            return answers

        with ThreadPoolExecutor(4) as clients:
            running = [clients.submit(client) for _ in range(4)]
            try:
                store.delete_alias(AliasName("flowers", "canary"))
                ModelStore(store._database, store.blobs, kept_for=timedelta(0)).delete_version(gone.name)
                age(store.blobs)
                garbage = Collector(store._database, store.blobs, grace_seconds=60).collect()
                service.await_state(gone.name, pb.VERSION_STATE_UNLOADED)
            finally:
                done.set()
            assert {answer for each in running for answer in each.result()} == {str(kept.name)}
        assert (garbage.num_versions, garbage.num_blobs) == (1, 2)  # its head and its manifest
        with refused(grpc.StatusCode.NOT_FOUND):
            service.predict(str(gone.name), photo(1))
        assert service.predict(FLOWERS, photo(1)).version == str(kept.name)
    assert Checker(store._database, store.blobs).check(deep=True).is_clean
