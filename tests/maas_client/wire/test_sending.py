"""Versions on their way to the registry over a link that breaks."""

from __future__ import annotations

from contextlib import closing

import grpc
import pytest

from maas_client.client import Client
from maas_client.settings import ClientSettings
from maas_client.transfers.publish import publish_base
from model_store.bases.catalogue import load_random
from tests.links import Link
from tests.training_service.registry_running import RunningRegistry
from tests.training_service.running import until

MEGABYTE = 1_000_000


def test_a_publication_goes_on_by_itself(registry: RunningRegistry) -> None:
    """Blobs that arrived whole are not sent again, and one version is registered."""
    base = load_random("resnet18", seed=0, num_labels=3)
    with closing(Link(registry.address)) as link, Client(ClientSettings(link.address, link.address)) as client:
        link.breaks_after = iter([15 * MEGABYTE, 20 * MEGABYTE])
        version = publish_base(client, "flowers", base)
        assert link.num_broken == 2
    assert version.name == "models/flowers/versions/1"
    assert [each.name for each in registry.client.versions("flowers")] == [version.name]
    for stage in version.stages:
        registry.blobs.verify(stage.digest)
    until(lambda: not list(registry.blobs.unfinished()))


def test_a_registry_that_was_never_there_is_given_up_at_once() -> None:
    """Whoever has mistyped the address must not wait."""
    settings = ClientSettings("127.0.0.1:1", "127.0.0.1:1", reconnect_seconds=600)
    with Client(settings) as client, pytest.raises(grpc.RpcError) as caught:
        publish_base(client, "flowers", load_random("squeezenet1_1", seed=0, num_labels=3))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
