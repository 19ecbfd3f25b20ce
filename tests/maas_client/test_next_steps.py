"""What a command waits for, and says, when a version has been made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from maas.inference.v1 import inference_pb2
from maas.training.v1 import training_pb2

from maas_client.client import Client
from maas_client.errors import LoadFailed
from maas_client.next_steps import await_answer, short_name_of, show_next_steps
from maas_client.settings import ClientSettings
from tests.inference_service.making import Recipe, Registry, open_registry, photo
from tests.inference_service.running import running_service
from tests.training_service.registry_running import running_registry


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """An empty store."""
    return open_registry(tmp_path)


@pytest.fixture
def client(tmp_path: Path, registry: Registry) -> Iterator[Client]:  # noqa: ARG001  the store is there first
    """A client of a registry and an inference service on that store."""
    with (
        running_registry(tmp_path) as served,
        running_service(tmp_path) as service,
        Client(ClientSettings(served.address, service.address)) as client,
    ):
        service.await_serving()
        yield client


def test_a_version_answers_when_the_wait_is_over(registry: Registry, client: Client) -> None:
    """Whoever asks then has its answer."""
    version = str(registry.publish(Recipe(head=1)).name)
    await_answer(client, version)
    request = inference_pb2.PredictRequest(name="models/flowers", examples=[inference_pb2.Example(file=photo())])
    assert client.inference.Predict(request).version == version


def test_a_version_that_cannot_be_loaded_fails_the_command(registry: Registry, client: Client) -> None:
    """The line says what is wrong with it."""
    version, digest = registry.publish_damaged(Recipe(head=1), "head", lambda data: data[:-1] + b"\xff")
    with pytest.raises(LoadFailed, match=f"{version.name} could not be loaded: .*{digest[:8]}"):
        await_answer(client, str(version.name))


def test_no_inference_service_is_no_failure(
    registry: Registry, client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    """The version is registered all the same; the remark names the address."""
    version = str(registry.publish(Recipe(head=1)).name)
    with Client(ClientSettings(client.settings.training_address, "127.0.0.1:1")) as lonely:
        await_answer(lonely, version)
    assert "no inference service answers at 127.0.0.1:1" in capsys.readouterr().err


def test_what_is_not_meant_by_any_name_is_not_waited_for(registry: Registry, client: Client) -> None:
    """Production names another version: that this one cannot be loaded is nobody's trouble."""
    first = registry.publish(Recipe(head=1))
    second, _ = registry.publish_damaged(Recipe(head=2), "head", lambda data: data[:-1] + b"\xff")
    registry.point(first.name)
    await_answer(client, str(second.name))
    assert short_name_of(client, str(second.name)).name == "flowers/2"


@pytest.mark.parametrize(
    ("aliases", "promote", "told", "name"),
    [
        ({}, "", "", "flowers"),
        (
            {"production": 1},
            "",
            "production still names 1; promote with `maas alias set flowers production 2`",
            "flowers/2",
        ),
        ({"production": 2}, "production", "", "flowers"),
        ({"staging": 1}, "", "", "flowers"),
        ({"production": 1, "staging": 2}, "", "production still names 1", "flowers@staging"),
        (
            {"production": 1},
            "staging",
            "staging names no version; promote with `maas alias set flowers staging 2`",
            "flowers/2",
        ),
    ],
)
def test_the_last_lines_say_which_version_answers(
    registry: Registry,
    client: Client,
    capsys: pytest.CaptureFixture[str],
    aliases: dict[str, int],
    promote: str,
    told: str,
    name: str,
) -> None:
    """Where the alias that was asked for, or production, names another one, how to promote; and a name that works."""
    versions = {number: registry.publish(Recipe(head=number), alias=None).name for number in (1, 2)}
    for alias, number in aliases.items():
        registry.point(versions[number], alias)
    job = training_pb2.TrainingJob(name="trainingJobs/1f", model="models/flowers", version=str(versions[2]))
    if promote:
        job.promote.alias = f"models/flowers/aliases/{promote}"
    capsys.readouterr()
    show_next_steps(client, job)
    out = capsys.readouterr().out
    assert told in out
    assert ("promote with" in out) == bool(told)
    assert f"next: maas report 1f, maas predict {name} FILE\n" in out
