"""Listings: filters and orders over real rows, and pages that lose and repeat nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from model_store.database.paging import Page, PageRequest
from model_store.errors import InvalidInput
from model_store.names import AliasName, VersionName
from model_store.records.resources import Lineage, Model, ModelVersion, Notes
from model_store.registry.models import ModelStore
from model_store.transactions.listings import ListRequest
from tests.model_store.making import publication

ACCURACY = (0.5, 0.9, 0.7, 0.9, None)


@pytest.fixture
def versions(store: ModelStore) -> ModelStore:
    """Five versions with tags and metrics; the third is deleted, the fourth in production, the fifth never measured."""
    for number, accuracy in enumerate(ACCURACY, 1):
        values = {"accuracy": accuracy, "loss": 1.0 / number, "huge": 1e300 / number} if accuracy is not None else {}
        tags = {"team": "vision" if number % 2 else "sound", f"only-{number}": "x"}
        base = VersionName("flowers", 1) if number == 2 else None
        store.publish(publication(store, metric_values=values, notes=Notes(tags=tags), lineage=Lineage(base=base)))
    store.delete_version(VersionName("flowers", 3))
    store.publish(publication(store, "birds"))
    store.set_alias(AliasName("flowers", "production"), VersionName("flowers", 4))
    return store


@pytest.mark.parametrize(
    ("filter_", "order_by", "numbers"),
    [
        ("", "", [5, 4, 2, 1]),
        ("", "number", [1, 2, 4, 5]),
        ("state = DELETED", "", [3]),
        ("state != DELETED", "number desc", [5, 4, 2, 1]),
        ("metrics.accuracy >= 0.9", "", [4, 2]),
        ("metrics.accuracy != 0.9", "", [1]),
        ("metrics.accuracy > 0.4 AND metrics.loss < 0.6", "", [4, 2]),
        ("", "metrics.accuracy desc", [4, 2, 1]),
        ("", "metrics.accuracy", [1, 2, 4]),
        ("", "metrics.nothing", []),
        ("", "metrics.huge", [4, 2, 1]),
        ("metrics.accuracy > 0.6", "metrics.loss desc", [2, 4]),
        ("tags.team = vision", "", [5, 1]),
        ("tags.team != vision", "", [4, 2]),
        ("tags.only-4:*", "", [4]),
        ('tags.only-4:"x" AND state = ACTIVE', "", [4]),
        ("aliases:production", "", [4]),
        ("aliases:*", "", [4]),
        ("aliases:staging", "", []),
        ("architecture = tiny AND base = models/flowers/versions/1", "", [2]),
        ("dataset = datasets/d", "", []),
        ("dataset != datasets/d AND base != models/flowers/versions/1", "", [5, 4, 1]),
        ("modality = image AND task = CLASSIFICATION", "", [5, 4, 2, 1]),
        ("modality = values", "", []),
        ("task != CLASSIFICATION", "", []),
        ('create_time > "2020-01-01T00:00:00Z"', "", [5, 4, 2, 1]),
        ('create_time < "2020-01-01T00:00:00+02:00"', "", []),
    ],
)
def test_versions_are_filtered_and_ordered(
    versions: ModelStore, filter_: str, order_by: str, numbers: list[int]
) -> None:
    """Each condition finds what it says, whole or in pages of any size."""
    for size in (0, 1, 2, 3):
        found = _all(lambda request: versions.list_versions("flowers", request), size, filter_, order_by)
        assert [version.name.number for version in found] == numbers


@pytest.mark.parametrize(
    ("filter_", "field"),
    [
        ("metrics.accuracy > high", "filter"),
        ("metrics.accuracy : 1", "filter"),
        ("aliases = production", "filter"),
        ("state = GONE", "filter"),
        ("state > ACTIVE", "filter"),
        ("base = flowers", "filter"),
        ("create_time > yesterday", "filter"),
        ('create_time > "2020-01-01T00:00:00"', "filter"),
        ("architecture > a", "filter"),
        ("task = classification", "filter"),
    ],
)
def test_what_cannot_be_compared_is_refused(versions: ModelStore, filter_: str, field: str) -> None:
    """The field of the request is named."""
    with pytest.raises(InvalidInput, match=field):
        versions.list_versions("flowers", ListRequest(filter=filter_))


def test_a_token_belongs_to_its_filter_and_order(versions: ModelStore) -> None:
    """Going on with another question is a mistake that must not pass silently."""
    page = versions.list_versions("flowers", ListRequest(PageRequest(1), order_by="number"))
    token = PageRequest(1, page.next_token)
    for other in (
        ListRequest(token),
        ListRequest(token, order_by="metrics.accuracy"),
        ListRequest(token, "state = DELETED", "number"),
        ListRequest(token, order_by="number", show_deleted=True),
    ):
        with pytest.raises(InvalidInput, match="page_token"):
            versions.list_versions("flowers", other)
    with pytest.raises(InvalidInput, match="page_token"):
        versions.list_versions("birds", ListRequest(token, order_by="number"))


def test_models_are_filtered_and_ordered(versions: ModelStore) -> None:
    """By tag, alias, state and time of creation."""
    versions.create_model("ants", Notes(tags={"team": "insects"}))
    versions.delete_model("birds", force=True)

    def ids(filter_: str = "", order_by: str = "", size: int = 0) -> list[str]:
        return [model.id for model in _all(versions.list_models, size, filter_, order_by)]

    for size in (0, 1, 2):
        assert ids(size=size) == ["ants", "flowers"]
        assert ids(order_by="name desc", size=size) == ["flowers", "ants"]
        assert ids(order_by="create_time", size=size) == ["flowers", "ants"]
        assert ids("state = DELETED", "create_time desc", size) == ["birds"]
    assert ids("tags.team = insects") == ["ants"]
    assert ids("aliases:production") == ["flowers"]
    with pytest.raises(InvalidInput, match="no field"):
        ids("metrics.accuracy > 0")


def _all(
    call: Callable[[ListRequest], Page[Model]] | Callable[[ListRequest], Page[ModelVersion]],
    size: int,
    filter_: str,
    order_by: str,
) -> list[Model] | list[ModelVersion]:
    items: list[Model] | list[ModelVersion] = []
    token = ""
    while True:
        page = call(ListRequest(PageRequest(size, token), filter_, order_by))
        items += page.items  # type: ignore[arg-type]  # of one kind or the other
        if not page.next_token:
            return items
        token = page.next_token
