"""Where the client looks for the services."""

from __future__ import annotations

import pytest

from maas_client import Client, errors
from maas_client.settings import ClientSettings, InvalidAddress


@pytest.mark.parametrize(
    ("variables", "address"),
    [
        ({}, "127.0.0.1:50052"),
        ({"MAAS_TRAINING_BIND": "127.0.0.1:6000"}, "127.0.0.1:6000"),
        ({"MAAS_TRAINING_BIND": "0.0.0.0:6000"}, "127.0.0.1:6000"),
        ({"MAAS_TRAINING_BIND": "[::]:6000"}, "127.0.0.1:6000"),
        ({"MAAS_TRAINING_BIND": "127.0.0.1:0"}, "127.0.0.1:50052"),
        ({"MAAS_TRAINING_BIND": "127.0.0.1:6000", "MAAS_TRAINING_ADDRESS": "gpu:7000"}, "gpu:7000"),
    ],
)
def test_a_moved_service_is_found(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], address: str) -> None:
    """By its own address, else where it listens: never another service on the default port."""
    for name in ("MAAS_TRAINING_BIND", "MAAS_TRAINING_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert ClientSettings.from_environment().training_address == address


def test_an_address_that_a_program_gives_is_checked_too() -> None:
    """The field is named."""
    with pytest.raises(InvalidAddress, match="inference_address must be host:port"):
        ClientSettings("127.0.0.1:50052", "http://127.0.0.1:50051")


@pytest.mark.parametrize(
    ("address", "named", "expected"),
    [
        ("", {}, ("127.0.0.1:50052", "env:1")),
        ("gpu-1", {}, ("gpu-1:50052", "gpu-1:50051")),
        ("[::1]", {}, ("[::1]:50052", "[::1]:50051")),
        ("maas.example:443", {}, ("maas.example:443", "maas.example:443")),
        ("dns:///maas.example:443", {}, ("dns:///maas.example:443", "dns:///maas.example:443")),
        ("", {"training": "a:1"}, ("a:1", "env:1")),
        ("", {"training": "a:1", "inference": "b:2"}, ("a:1", "b:2")),
        ("gpu-1", {"inference": "b:2"}, ("gpu-1:50052", "b:2")),
    ],
)
def test_one_address_leads_to_both_services(
    monkeypatch: pytest.MonkeyPatch, address: str, named: dict[str, str], expected: tuple[str, str]
) -> None:
    """A proxy's, or a host's with their own ports; what is not given is read from the variables."""
    for name in ("MAAS_TRAINING_BIND", "MAAS_TRAINING_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MAAS_INFERENCE_ADDRESS", "env:1")
    with Client(address, **named) as client:
        assert (client.settings.training_address, client.settings.inference_address) == expected


@pytest.mark.parametrize("address", ["http://gpu-1", "gpu-1:0", "gpu 1", "::1"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    """When the client is made, not with the first call."""
    with pytest.raises(errors.InvalidArgument, match="must be host:port"):
        Client(address)
