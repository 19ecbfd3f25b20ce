"""Where the client looks for the services."""

from __future__ import annotations

import pytest

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
