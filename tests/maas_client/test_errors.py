"""The client's errors, as a real service causes them."""

from __future__ import annotations

import grpc
import pytest
from maas.model_store.v1 import model_store_pb2

from maas_client import Client, errors
from tests.maas_client.commands.publishing import publish
from tests.training_service.registry_running import RunningRegistry

NOBODY = "127.0.0.1:1"


def test_each_error_is_chained_from_grpcs(registry: RunningRegistry) -> None:
    """Whoever needs it has the call's own error, and may catch either."""
    with pytest.raises(errors.NotFound, match="models/none does not exist") as caught:
        registry.client.model("none")
    cause = caught.value.__cause__
    assert isinstance(cause, grpc.RpcError)
    assert isinstance(caught.value, grpc.RpcError | LookupError)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert caught.value.details() == cause.details()


def test_wrong_fields_are_named(registry: RunningRegistry) -> None:
    """Each with what is wrong of it, without reading gRPC's metadata."""
    with pytest.raises(errors.InvalidArgument) as caught:
        registry.client.create_model("No!")
    assert set(caught.value.violations) == {"model_id"}
    assert caught.value.hint == ""


def test_a_change_meanwhile_is_a_conflict(registry: RunningRegistry) -> None:
    """The etag that was read is another one now."""
    publish(registry)
    read = registry.client.model("flowers")
    registry.client.tag("flowers", {"team": "vision"}, etag=read.etag)
    with pytest.raises(errors.Aborted, match="read it again"):
        registry.client.tag("flowers", {"team": "other"}, etag=read.etag)
    with pytest.raises(errors.AlreadyExists):
        registry.client.create_model("flowers")


def test_a_service_that_is_not_there_is_named() -> None:
    """The message has the address, the hint what to do."""
    with Client(NOBODY) as client, pytest.raises(errors.Unavailable, match=NOBODY) as caught:
        client.model("flowers")
    assert "maas up" in caught.value.hint
    assert str(caught.value).endswith(caught.value.hint)


def test_the_other_service_is_told_of(registry: RunningRegistry) -> None:
    """A server without the service that was meant: the hint names both addresses."""
    with Client(registry.address) as client, pytest.raises(errors.Unimplemented) as caught:
        client.predict("flowers", [[1.0, 2.0]])
    assert "MAAS_INFERENCE_ADDRESS" in caught.value.hint


def test_a_deadline_is_a_timeout(registry: RunningRegistry) -> None:
    """As Python names it."""
    request = model_store_pb2.WatchChangesRequest()
    with pytest.raises(TimeoutError):
        next(registry.client.stubs.registry.WatchChanges(request, timeout=0.05))


def test_what_the_client_finds_itself_has_no_cause(registry: RunningRegistry) -> None:
    """It is of the class that the service's refusal would have."""
    with pytest.raises(errors.InvalidArgument, match="is an alias") as caught:
        registry.client.delete("flowers@production")
    assert caught.value.__cause__ is None
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
