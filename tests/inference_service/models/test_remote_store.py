"""Models whose blobs are in S3: one machine publishes them, another loads them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from grpc_runtime.settings import StoreSettings
from inference_service.execution.executor import Executor
from inference_service.models.loader import Loader
from model_store.blobs import BlobStore
from model_store.errors import Unavailable
from model_store.names import VersionName
from model_store.registry.models import ModelStore
from tests.inference_service.making import Recipe, Registry, chain, check_features

NAME = VersionName("flowers", 1)


def loader(blobs: BlobStore) -> Loader:
    """Return a loader on the CPU that has nothing loaded."""
    return Loader(blobs, torch.device("cpu"), Executor(torch.device("cpu")).warm_up)


def test_what_is_published_on_one_machine_is_loaded_on_another(
    s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They share the database and the bucket, by the environment alone; each has a cache of its own."""
    monkeypatch.setenv("MAAS_BLOBS_URL", s3_url)
    monkeypatch.setenv("MAAS_CACHE_BYTES", str(10**9))
    publishing = StoreSettings(home=tmp_path / "publisher")
    database = publishing.open_database()
    version = Registry(ModelStore(database, publishing.open_blobs())).publish(Recipe())
    monkeypatch.setenv("MAAS_CACHE_DIR", str(tmp_path / "loader cache"))
    loading = StoreSettings(home=tmp_path / "loader").open_blobs()
    loaded = loader(loading).load(NAME, version.manifest_digest)
    check_features(loaded, chain(Recipe()))
    database.close()
    cached = {path.name for path in (tmp_path / "loader cache/sha256").glob("*/*")}
    assert cached == {version.manifest_digest, *(stage.digest for stage in version.stages)}
    assert not (tmp_path / "publisher/blobs").exists()
    assert not (tmp_path / "loader").exists()


def test_what_was_loaded_once_is_loaded_again_without_the_network(
    s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that starts again while the bucket cannot be reached serves what it served."""
    settings = StoreSettings(home=tmp_path, blobs_url=s3_url)
    database = settings.open_database()
    version = Registry(ModelStore(database, settings.open_blobs())).publish(Recipe())
    database.close()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    assert loader(settings.open_blobs()).load(NAME, version.manifest_digest).size_bytes > 0
    with pytest.raises(Unavailable, match="AWS_ENDPOINT_URL"):
        loader(StoreSettings(home=tmp_path / "new", blobs_url=s3_url).open_blobs()).load(NAME, version.manifest_digest)
