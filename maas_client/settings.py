"""Where the client finds the services: `MAAS_TRAINING_ADDRESS` and `MAAS_INFERENCE_ADDRESS`, or where they listen."""

from __future__ import annotations

import os
from dataclasses import dataclass

INFERENCE_ADDRESS = "127.0.0.1:50051"
TRAINING_ADDRESS = "127.0.0.1:50052"


@dataclass(frozen=True)
class ClientSettings:
    """Addresses, as `host:port`, and how long to wait for a service that was there and does not answer any more."""

    training_address: str
    inference_address: str
    reconnect_seconds: float = 60.0

    @classmethod
    def from_environment(cls) -> ClientSettings:
        """Read the variables; plain `os.environ`, because a client must start in no time."""
        return cls(_address("TRAINING", TRAINING_ADDRESS), _address("INFERENCE", INFERENCE_ADDRESS))


def _address(service: str, default: str) -> str:
    """Return where a service is: whoever moved it by its BIND must not reach another one on the default port."""
    if address := os.environ.get(f"MAAS_{service}_ADDRESS"):
        return address
    host, _, port = os.environ.get(f"MAAS_{service}_BIND", default).rpartition(":")
    if not host or port == "0":  # any free port: only the service itself knows it
        return default
    return f"127.0.0.1:{port}" if host in {"0.0.0.0", "[::]"} else f"{host}:{port}"  # noqa: S104  not bound, connected to
