"""What people write on models and versions over the wire: creating, updating, deleting, and listing by it."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from maas.model_store.v1 import model_store_pb2 as pb

from model_store.names import VersionName
from model_store.records.resources import Lineage, Notes
from tests.training_service.flowers import FIRST, FLOWERS, publish
from tests.training_service.registry_running import RunningRegistry
from tests.training_service.running import refused

ACTIVE, DELETED = pb.RESOURCE_STATE_ACTIVE, pb.RESOURCE_STATE_DELETED


def test_a_model_is_created_before_its_versions(registry: RunningRegistry) -> None:
    """The same call again is answered as the first one; another content is refused."""
    call = registry.client.registry.CreateModel
    model = pb.Model(description="Flowers of the garden.", tags={"team": "vision"})
    created = call(pb.CreateModelRequest(model_id="flowers", model=model))
    assert (created.name, created.description, dict(created.tags)) == (FLOWERS, model.description, {"team": "vision"})
    assert (created.state, created.last_version_number) == (ACTIVE, 0)
    assert call(pb.CreateModelRequest(model_id="flowers", model=model)) == created
    with refused(grpc.StatusCode.ALREADY_EXISTS, FLOWERS):
        call(pb.CreateModelRequest(model_id="flowers"))
    with refused(grpc.StatusCode.INVALID_ARGUMENT, fields=["model_id"]):
        call(pb.CreateModelRequest(model_id="Flowers"))
    with refused(grpc.StatusCode.INVALID_ARGUMENT, fields=["model.description", "model.tags['1']"]):
        call(pb.CreateModelRequest(model_id="roses", model=pb.Model(description="x" * 10_001, tags={"1": ""})))


@pytest.mark.parametrize(
    ("mask", "description", "tags"),
    [
        (None, "new", {"a": "9"}),
        (["*"], "new", {"a": "9"}),
        (["description"], "new", {"a": "1", "b": "2"}),
        (["tags"], "old", {"a": "9"}),
        (["tags.a"], "old", {"a": "9", "b": "2"}),
        (["tags.b"], "old", {"a": "1"}),
        (["tags.a", "tags.b", "description"], "new", {"a": "9"}),
    ],
)
def test_a_mask_says_what_is_changed(
    registry: RunningRegistry, mask: list[str] | None, description: str, tags: dict[str, str]
) -> None:
    """Models and versions alike: what the mask does not name stays, and a named tag without a value goes."""
    publish(registry, notes=Notes("old", {"a": "1", "b": "2"}))
    registry.store.update_model("flowers", lambda _: Notes("old", {"a": "1", "b": "2"}))
    update_mask = FieldMask(paths=mask) if mask is not None else None
    model = pb.Model(name=FLOWERS, description="new", tags={"a": "9"})
    version = pb.ModelVersion(name=FIRST, description="new", tags={"a": "9"})
    changed = (
        registry.client.registry.UpdateModel(pb.UpdateModelRequest(model=model, update_mask=update_mask)),
        registry.client.registry.UpdateModelVersion(
            pb.UpdateModelVersionRequest(model_version=version, update_mask=update_mask)
        ),
    )
    for each in changed:
        assert (each.description, dict(each.tags)) == (description, tags)


def test_an_etag_that_was_overtaken_changes_nothing(registry: RunningRegistry) -> None:
    """Whoever read before somebody else wrote is told to read again: ABORTED, for every kind of write."""
    publish(registry)
    service, client = registry.client.registry, registry.client
    model, version = client.model("flowers"), client.version("flowers/1")
    for name, etag in (("x", model.etag), ("y", "")):
        service.UpdateModel(pb.UpdateModelRequest(model=pb.Model(name=FLOWERS, description=name, etag=etag)))
    service.UpdateModelVersion(
        pb.UpdateModelVersionRequest(model_version=pb.ModelVersion(name=FIRST, etag=version.etag))
    )
    for call, request in (
        (service.UpdateModel, pb.UpdateModelRequest(model=model)),
        (service.UpdateModelVersion, pb.UpdateModelVersionRequest(model_version=version)),
        (service.DeleteModel, pb.DeleteModelRequest(name=FLOWERS, etag=model.etag, force=True)),
        (service.DeleteModelVersion, pb.DeleteModelVersionRequest(name=FIRST, etag=version.etag)),
    ):
        with refused(grpc.StatusCode.ABORTED, "read it again"):
            call(request)
    assert (client.model("flowers").description, client.version("flowers/1").state) == ("y", ACTIVE)


@pytest.mark.parametrize(
    ("call", "message", "field"),
    [
        ("UpdateModel", pb.UpdateModelRequest(update_mask=FieldMask(paths=["name"])), "model.name"),
        (
            "UpdateModel",
            pb.UpdateModelRequest(model=pb.Model(name=FLOWERS), update_mask=FieldMask(paths=["aliases"])),
            "update_mask",
        ),
        (
            "UpdateModel",
            pb.UpdateModelRequest(model=pb.Model(name=FLOWERS, tags={"team": "a\nb"})),
            "model.tags['team']",
        ),
        (
            "UpdateModelVersion",
            pb.UpdateModelVersionRequest(model_version=pb.ModelVersion(name=FLOWERS)),
            "model_version.name",
        ),
        (
            "UpdateModelVersion",
            pb.UpdateModelVersionRequest(model_version=pb.ModelVersion(name=FIRST, description="a\0b")),
            "model_version.description",
        ),
        ("DeleteModel", pb.DeleteModelRequest(name=FIRST), "name"),
        ("DeleteModelVersion", pb.DeleteModelVersionRequest(name=FLOWERS), "name"),
        ("UndeleteModel", pb.UndeleteModelRequest(name="flowers"), "name"),
        ("UndeleteModelVersion", pb.UndeleteModelVersionRequest(name=f"{FLOWERS}/versions/0"), "name"),
        ("DeleteAlias", pb.DeleteAliasRequest(name=f"{FLOWERS}/aliases/a", actor="a\0b"), "actor"),
    ],
)
def test_a_wrong_edit_names_its_field(registry: RunningRegistry, call: str, message: object, field: str) -> None:
    """INVALID_ARGUMENT with the one field that was wrong."""
    publish(registry)
    with refused(grpc.StatusCode.INVALID_ARGUMENT, fields=[field]):
        getattr(registry.client.registry, call)(message)


def test_what_something_stands_on_is_not_deleted(registry: RunningRegistry) -> None:
    """The refusal names the alias, then the child; without them the version goes, and comes back."""
    service = registry.client.registry
    publish(registry, alias="production")
    child = publish(registry, "roses", seed=2, lineage=Lineage(base=VersionName("flowers", 1)))
    with refused(grpc.StatusCode.FAILED_PRECONDITION, f"{FLOWERS}/aliases/production"):
        service.DeleteModelVersion(pb.DeleteModelVersionRequest(name=FIRST))
    with refused(grpc.StatusCode.FAILED_PRECONDITION, FIRST):
        service.DeleteModel(pb.DeleteModelRequest(name=FLOWERS))
    service.DeleteAlias(pb.DeleteAliasRequest(name=f"{FLOWERS}/aliases/production"))
    for call, request in (
        (service.DeleteModelVersion, pb.DeleteModelVersionRequest(name=FIRST)),
        (service.DeleteModel, pb.DeleteModelRequest(name=FLOWERS, force=True)),
    ):
        with refused(grpc.StatusCode.FAILED_PRECONDITION, child):
            call(request)
    assert service.DeleteModelVersion(pb.DeleteModelVersionRequest(name=child)).state == DELETED
    gone = service.DeleteModelVersion(pb.DeleteModelVersionRequest(name=FIRST))
    assert (gone.state, gone.purge_time.seconds > gone.delete_time.seconds) == (DELETED, True)
    with refused(grpc.StatusCode.FAILED_PRECONDITION, f"{FIRST} was deleted"):
        service.UndeleteModelVersion(pb.UndeleteModelVersionRequest(name=child))
    for name in (FIRST, child):
        assert service.UndeleteModelVersion(pb.UndeleteModelVersionRequest(name=name)).state == ACTIVE
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "was not deleted"):
        service.UndeleteModelVersion(pb.UndeleteModelVersionRequest(name=FIRST))


def test_a_deleted_model_takes_its_versions_with_it(registry: RunningRegistry) -> None:
    """Hidden from listings, still read by name, closed to new versions and aliases; undeleting brings all back."""
    publish(registry, alias="production")
    service, client = registry.client.registry, registry.client
    assert service.DeleteModel(pb.DeleteModelRequest(name=FLOWERS, force=True)).state == DELETED
    assert list(client.models()) == []
    assert [model.name for model in client.models(show_deleted=True)] == [FLOWERS]
    assert client.version("flowers/1").state == DELETED
    for call, request in (
        (service.GetModelVersion, pb.GetModelVersionRequest(name=f"{FLOWERS}/aliases/production")),
        (service.SetAlias, pb.SetAliasRequest(name=f"{FLOWERS}/aliases/x", version=FIRST)),
        (service.UpdateModel, pb.UpdateModelRequest(model=pb.Model(name=FLOWERS))),
        (service.UndeleteModelVersion, pb.UndeleteModelVersionRequest(name=FIRST)),
    ):
        with refused(grpc.StatusCode.FAILED_PRECONDITION, "undelete it first"):
            call(request)
    assert service.UndeleteModel(pb.UndeleteModelRequest(name=FLOWERS)).state == ACTIVE
    assert list(client.version("flowers@production").aliases) == [f"{FLOWERS}/aliases/production"]
    with refused(grpc.StatusCode.NOT_FOUND, "models/nowhere"):
        service.UndeleteModel(pb.UndeleteModelRequest(name="models/nowhere"))


@pytest.mark.parametrize(
    ("filter_", "order_by", "numbers"),
    [
        ("", "", [3, 2, 1]),
        ("metrics.accuracy >= 0.8", "", [3, 2]),
        ("metrics.accuracy > 0.7 AND tags.team = vision", "", [2]),
        ("", "metrics.accuracy desc", [2, 3, 1]),
        ("", "number", [1, 2, 3]),
        ("metrics.accuracy < 0.85 AND metrics.accuracy != 0.75", "metrics.accuracy desc", [3, 1]),
        ('tags.team:* AND architecture = "tiny"', "metrics.accuracy", [1, 2]),
        ("aliases:live", "", [1]),
        ("state = DELETED", "", [4]),
    ],
)
def test_versions_are_found_by_what_is_known_of_them(
    registry: RunningRegistry, filter_: str, order_by: str, numbers: list[int]
) -> None:
    """Filters and orders reach the listing, through pages of one."""
    publish(registry, alias="live", metric_values={"accuracy": 0.7}, notes=Notes(tags={"team": "sound"}))
    publish(registry, seed=2, metric_values={"accuracy": 0.9}, notes=Notes(tags={"team": "vision"}))
    publish(registry, seed=3, metric_values={"accuracy": 0.8})
    registry.store.delete_version(VersionName("flowers", number_of(publish(registry, seed=4))))
    request = pb.ListModelVersionsRequest(parent=FLOWERS, filter=filter_, order_by=order_by, page_size=1)
    found = []
    while True:
        response = registry.client.registry.ListModelVersions(request)
        found += [number_of(version.name) for version in response.model_versions]
        request.page_token = response.next_page_token
        if not request.page_token:
            break
    assert found == numbers


@pytest.mark.parametrize(
    ("request_", "field", "text"),
    [
        (pb.ListModelVersionsRequest(parent=FLOWERS, filter="accuracy > 1"), "filter", "knows no field"),
        (pb.ListModelVersionsRequest(parent=FLOWERS, filter="metrics.accuracy > high"), "filter", "a number"),
        (pb.ListModelVersionsRequest(parent=FLOWERS, filter="state = ACTIVE OR state = DELETED"), "filter", "AND"),
        (pb.ListModelVersionsRequest(parent=FLOWERS, order_by="metrics.accuracy down"), "order_by", "desc"),
        (pb.ListModelVersionsRequest(parent=FLOWERS, order_by="create_time"), "order_by", "knows no field"),
        (pb.ListModelsRequest(filter="metrics.accuracy > 1"), "filter", "knows no field"),
        (pb.ListModelsRequest(filter="create_time > yesterday"), "filter", "create_time"),
        (pb.ListModelsRequest(order_by="tags.team"), "order_by", "knows no field"),
    ],
)
def test_a_listing_that_cannot_be_read_says_where(
    registry: RunningRegistry, request_: pb.ListModelVersionsRequest | pb.ListModelsRequest, field: str, text: str
) -> None:
    """INVALID_ARGUMENT on `filter` or `order_by`, with the reason."""
    publish(registry)
    service = registry.client.registry
    call = service.ListModelVersions if isinstance(request_, pb.ListModelVersionsRequest) else service.ListModels
    with refused(grpc.StatusCode.INVALID_ARGUMENT, text, fields=[field]):
        call(request_)


def number_of(name: str) -> int:
    """Return the number in a version's name."""
    return int(name.rpartition("/")[2])
