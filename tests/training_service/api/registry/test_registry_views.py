"""What is asked about versions over the wire: what differs, where they come from, and what happens to them now."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import grpc
import pytest
from maas.model_store.v1 import model_store_pb2 as pb

from maas_client.wire.resuming import resumed
from model_store.names import AliasName, VersionName
from model_store.records.changes import Change, ChangeKind
from model_store.records.job_lifecycle import JobState
from model_store.records.resources import Lineage, Notes
from model_store.transactions.lineage import LineageGraph, LineageNode
from tests.model_store.making import publication, registered_dataset
from tests.training_service.registry_running import TIMEOUT, RunningRegistry, running_registry
from tests.training_service.running import refused
from training_service.api.registry_convert import change_message, lineage_graph_message

FIRST, SECOND = (f"models/flowers/versions/{number}" for number in (1, 2))


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[RunningRegistry]:
    """A server on an empty store."""
    with running_registry(tmp_path) as running:
        yield running


def publish(registry: RunningRegistry, model_id: str = "flowers", seeds: tuple[int, ...] = (1, 2), **more: Any) -> str:
    """Publish a tiny version and return its name."""
    return str(registry.store.publish(publication(registry.store, model_id, seeds, **more)).name)


def test_two_versions_are_compared(registry: RunningRegistry) -> None:
    """Metrics of both, the stages and hyperparameters that differ, and what they share."""
    registered_dataset(registry.store, "photos")
    lineage = Lineage(dataset_id="photos", recipe={"name": "full", "rate": 0.1})
    publish(registry, lineage=lineage, metric_values={"accuracy": 0.8, "old": 1})
    changed = Lineage(dataset_id="photos", recipe={"name": "full", "rate": 0.2}, seed=7)
    publish(registry, seeds=(1, 3), lineage=changed, metric_values={"accuracy": 0.9}, alias="production")
    answer = registry.client.compare("flowers/1", "flowers@production")
    versions = [registry.client.version(name) for name in (FIRST, SECOND)]
    assert (answer.first, answer.second) == (FIRST, SECOND)
    metrics = {
        each.name: (each.HasField("first"), each.first, each.HasField("second"), each.second) for each in answer.metrics
    }
    assert metrics == {"accuracy": (True, 0.8, True, 0.9), "old": (True, 1.0, False, 0.0)}
    assert answer.metrics_obstacle == ""
    (stage,) = answer.stages
    assert (stage.name, stage.first, stage.second) == ("stage1", *(version.stages[1].digest for version in versions))
    assert answer.shared_bytes == versions[1].stages[0].size_bytes
    assert {each.name: (each.first, each.second) for each in answer.hyperparameters} == {
        "rate": ("0.1", "0.2"),
        "seed": ("0", "7"),
    }
    publish(registry, "base", metric_values={"accuracy": 0.8})
    others = registry.client.compare("flowers/1", "base/1")
    assert (list(others.metrics), "only its publisher knows" in others.metrics_obstacle) == ([], True)
    with refused(grpc.StatusCode.NOT_FOUND, "models/flowers/versions/3"):
        registry.client.compare("flowers/1", "flowers/3")
    with refused(grpc.StatusCode.INVALID_ARGUMENT, fields=["second"]):
        registry.client.registry.CompareModelVersions(
            pb.CompareModelVersionsRequest(first="models/flowers/versions/1", second="models/flowers")
        )


def test_a_lineage_leads_up_and_down(registry: RunningRegistry) -> None:
    """Bases above, children below, as far as asked for; what was cut off is said."""
    for number in range(1, 5):
        base = VersionName("flowers", number - 1) if number > 1 else None
        publish(registry, seeds=(number,), lineage=Lineage(base=base))
    call = registry.client.registry.GetLineage
    names = [f"models/flowers/versions/{number}" for number in range(1, 5)]
    whole = call(pb.GetLineageRequest(name=SECOND))
    assert [node.name for node in whole.nodes] == [SECOND, FIRST, *names[2:]]
    assert [(edge.source, edge.target, edge.role) for edge in whole.edges] == [
        (above, below, pb.LineageGraph.ROLE_BASE) for above, below in pairwise(names)
    ]
    assert not whole.truncated
    near = call(pb.GetLineageRequest(name=SECOND, max_generations_up=0, max_generations_down=1))
    assert ([node.name for node in near.nodes], near.truncated) == (names[1:3], True)
    few = call(pb.GetLineageRequest(name=SECOND, max_nodes=1))
    assert ([node.name for node in few.nodes], few.truncated) == ([SECOND], True)


def test_a_version_says_what_its_base_is_made_of(registry: RunningRegistry) -> None:
    """By its manifest's digest, even where the base was deleted meanwhile; a listing says the name alone."""
    publish(registry)
    child = publish(registry, "roses", seeds=(3,), lineage=Lineage(base=VersionName("flowers", 1)))
    lineage = registry.client.version(child).lineage
    assert lineage.base_manifest_digest == registry.client.version(FIRST).manifest_digest
    (listed,) = registry.client.versions("roses")
    assert (listed.lineage.base, listed.lineage.base_manifest_digest) == (FIRST, "")
    assert registry.client.version(FIRST).lineage.base_manifest_digest == ""


@pytest.mark.parametrize(
    ("message", "code", "text"),
    [
        (pb.GetLineageRequest(name="models/flowers"), "INVALID_ARGUMENT", "name"),
        (pb.GetLineageRequest(name=FIRST, max_generations_up=101), "INVALID_ARGUMENT", "max_generations_up"),
        (pb.GetLineageRequest(name=FIRST, max_generations_down=-1), "INVALID_ARGUMENT", "max_generations_down"),
        (pb.GetLineageRequest(name=FIRST, max_nodes=10_001), "INVALID_ARGUMENT", "max_nodes"),
        (pb.GetLineageRequest(name=SECOND), "NOT_FOUND", SECOND),
        (pb.GetLineageRequest(name="datasets/photos"), "NOT_FOUND", "datasets/photos"),
        (pb.GetLineageRequest(name=f"trainingJobs/{'0' * 32}"), "NOT_FOUND", "trainingJobs/0"),
    ],
)
def test_a_lineage_that_cannot_be_had_says_why(
    registry: RunningRegistry, message: pb.GetLineageRequest, code: str, text: str
) -> None:
    """A limit out of range is named, and so is what does not exist."""
    publish(registry)
    with refused(grpc.StatusCode[code], text):
        registry.client.registry.GetLineage(message)


def test_a_change_is_seen_as_it_happens(registry: RunningRegistry) -> None:
    """From now on, and of one resource alone where one is named."""
    publish(registry)
    every, flowers = watch(registry), watch(registry, resource="models/flowers")
    publish(registry, "roses")
    registry.store.set_alias(AliasName("flowers", "live"), VersionName("flowers", 1))
    registry.store.update_version(VersionName("flowers", 1), lambda _: Notes("new"))
    of_flowers = [("alias_moved", "models/flowers/aliases/live"), ("version_updated", FIRST)]
    assert taken(every, 3) == [("version_published", "models/roses/versions/1"), *of_flowers]
    assert taken(flowers, 2) == of_flowers


def test_watching_goes_on_after_a_sequence_number(registry: RunningRegistry) -> None:
    """What was committed meanwhile comes first, each once and in order."""
    for seed in range(3):
        publish(registry, seeds=(seed,))
    changes = watch(registry, after_sequence=0)
    first, second = next(changes), next(changes)
    again = watch(registry, after_sequence=first.sequence)
    assert next(again) == second
    assert taken(again, 1) == [("version_published", "models/flowers/versions/3")]
    with refused(grpc.StatusCode.INVALID_ARGUMENT, fields=["after_sequence"]):
        next(watch(registry, after_sequence=-1))


def test_a_service_that_stops_tells_those_who_watch(registry: RunningRegistry) -> None:
    """UNAVAILABLE, which asks for another try, and at once."""
    changes = watch(registry)
    registry.stop()
    with refused(grpc.StatusCode.UNAVAILABLE, "watch again"):
        next(changes)


def test_the_client_watches_on_across_a_restart(registry: RunningRegistry, tmp_path: Path) -> None:
    """What is written while no service runs is seen once it is back, even where nothing was seen before."""
    begun = threading.Event()

    def call(request: pb.WatchChangesRequest) -> Any:
        stream = watch_request(registry, request)
        begun.set()
        return stream

    client = registry.client
    changes = resumed(call, pb.WatchChangesRequest(), client.training_channel, client.settings.reconnect_seconds)
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(next, changes)
        assert begun.wait(TIMEOUT)
        registry.stop()
        publish(registry)
        with running_registry(tmp_path, bind=registry.address) as back:
            assert first.result(TIMEOUT).resource == FIRST
            publish(back, seeds=(3,))
            assert taken(changes, 1) == [("version_published", SECOND)]
            changes.close()


def test_the_client_gives_up_where_no_service_comes_back(registry: RunningRegistry) -> None:
    """After the time that its settings allow, the caller has the error."""
    publish(registry)
    client = registry.client
    changes = resumed(
        client.registry.WatchChanges, pb.WatchChangesRequest(after_sequence=0), client.training_channel, 0.3
    )
    assert taken(changes, 1) == [("version_published", FIRST)]
    registry.stop()
    with refused(grpc.StatusCode.UNAVAILABLE):
        next(changes)


def watch(registry: RunningRegistry, **request: Any) -> Any:
    """Follow changes, from before this returns."""
    return watch_request(registry, pb.WatchChangesRequest(**request))


def watch_request(registry: RunningRegistry, request: pb.WatchChangesRequest) -> Any:
    """Follow changes, from before this returns."""
    changes = registry.client.registry.WatchChanges(request, timeout=TIMEOUT)
    changes.initial_metadata()
    return changes


def kind_of(change: pb.Change) -> str:
    """Return what happened, in lower case."""
    return pb.Change.Kind.Name(change.kind).removeprefix("KIND_").lower()


def taken(changes: Iterator[pb.Change], number: int) -> list[tuple[str, str]]:
    """Return the next changes, once they come."""
    return [(kind_of(change), change.resource) for change in islice(changes, number)]


def test_every_kind_of_change_has_its_value_on_the_wire() -> None:
    """So has every state in which a job can be, in a lineage; one that a newer service wrote is unspecified."""
    sent = [change_message(Change(1, kind, "models/flowers", datetime.now(UTC))) for kind in ChangeKind]
    assert [kind_of(each) for each in sent] == [str(kind) for kind in ChangeKind]
    assert {f"job_{state}" for state in JobState} <= set(ChangeKind)
    newer = change_message(Change(1, "model_renamed", "models/flowers", datetime.now(UTC)))
    assert newer.kind == pb.Change.KIND_UNSPECIFIED
    states = [*(state.upper() for state in JobState), "ACTIVE", "DELETED", "PURGED"]
    graph = LineageGraph(tuple(LineageNode(state, state, None) for state in states), (), is_truncated=False)
    for node in lineage_graph_message(graph).nodes:
        assert pb.LineageGraph.State.Name(node.state) == f"STATE_{node.name}"
