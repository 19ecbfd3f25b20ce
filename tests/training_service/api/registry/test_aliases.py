"""Aliases over the wire: deleted, given traffic splits, and refused with their fields."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from maas.model_store.v1 import model_store_pb2 as pb

from tests.training_service.flowers import FIRST, FLOWERS, publish
from tests.training_service.registry_running import RunningRegistry
from tests.training_service.running import refused


def test_an_alias_is_deleted_and_its_history_stays(registry: RunningRegistry) -> None:
    """Only where it has the etag that was read; then it is NOT_FOUND, and its last move says who and why."""
    publish(registry, alias="live")
    publish(registry, seed=2)
    service, name = registry.client.registry, f"{FLOWERS}/aliases/live"
    etag = registry.client.alias("flowers", "live").etag
    for call, request in (
        (service.DeleteAlias, pb.DeleteAliasRequest(name=name, etag=f"{etag}0")),
        (service.RollBackAlias, pb.RollBackAliasRequest(name=name, etag=f"{etag}0")),
    ):
        with refused(grpc.StatusCode.ABORTED, f"its etag is {etag}"):
            call(request)
    service.DeleteAlias(pb.DeleteAliasRequest(name=name, etag=etag, actor="ann", reason="old"))
    for call, request in (
        (service.GetAlias, pb.GetAliasRequest(name=name)),
        (service.DeleteAlias, pb.DeleteAliasRequest(name=name)),
        (service.RollBackAlias, pb.RollBackAliasRequest(name=name)),
    ):
        with refused(grpc.StatusCode.NOT_FOUND, name):
            call(request)
    last, first = registry.client.alias_history("flowers", "live")
    assert (last.from_version, last.to_version, last.actor, last.reason) == (FIRST, "", "ann", "old")
    assert first.to_version == FIRST


def test_a_split_goes_over_the_wire_and_back(registry: RunningRegistry) -> None:
    """Set, read, in the model and in the history; rolling back brings it back; what does not fit is named."""
    for seed in range(4):
        publish(registry, seed=seed)
    service, name = registry.client.registry, f"{FLOWERS}/aliases/live"
    canary, shadow = (pb.VersionShare(version=f"{FLOWERS}/versions/{n}", percent=p) for n, p in ((2, 12.5), (3, 100)))
    split = pb.SetAliasRequest(name=name, version=FIRST, canaries=[canary], shadow=shadow)
    alias = service.SetAlias(split)
    assert (list(alias.canaries), alias.shadow) == ([canary], shadow)
    assert service.GetAlias(pb.GetAliasRequest(name=name)) == registry.client.model("flowers").aliases[0] == alias
    whole = service.SetAlias(pb.SetAliasRequest(name=name, version=FIRST))
    assert (list(whole.canaries), whole.HasField("shadow")) == ([], False)
    last, first = registry.client.alias_history("flowers", "live")
    assert (list(first.canaries), first.shadow, first.from_version) == ([canary], shadow, "")
    assert (list(last.canaries), last.HasField("shadow"), last.from_version) == ([], False, FIRST)
    back = service.RollBackAlias(pb.RollBackAliasRequest(name=name))
    assert (list(back.canaries), back.shadow) == ([canary], shadow)
    with refused(grpc.StatusCode.FAILED_PRECONDITION, f"canary or the shadow of {name}"):
        service.DeleteModelVersion(pb.DeleteModelVersionRequest(name=canary.version))


@pytest.mark.parametrize(
    ("shares", "fields"),
    [
        ({"canaries": [pb.VersionShare(version="models/trees/versions/1", percent=1)]}, ["canaries[0].version"]),
        ({"canaries": [pb.VersionShare(version=FIRST, percent=1), pb.VersionShare()]}, ["canaries[1].version"]),
        ({"shadow": pb.VersionShare(version=f"{FLOWERS}/aliases/x", percent=1)}, ["shadow.version"]),
        ({"shadow": pb.VersionShare(version=f"{FLOWERS}/versions/2")}, ["shadow.percent"]),
        (
            {"canaries": [pb.VersionShare(version=FIRST, percent=101)]},
            [f"canaries[0].{each}" for each in ("version", "percent")] + ["canaries"],
        ),
    ],
)
def test_a_split_that_does_not_fit_is_refused_with_its_fields(
    registry: RunningRegistry, shares: dict[str, Any], fields: list[str]
) -> None:
    """As other requests are."""
    publish(registry)
    request = pb.SetAliasRequest(name=f"{FLOWERS}/aliases/live", version=FIRST, **shares)
    with refused(grpc.StatusCode.INVALID_ARGUMENT, fields=fields):
        registry.client.registry.SetAlias(request)
