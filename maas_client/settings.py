"""Where the client finds the services: `MAAS_TRAINING_ADDRESS` and `MAAS_INFERENCE_ADDRESS`."""

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
        """Read the two variables; plain `os.environ`, because a client must start in no time."""
        return cls(
            os.environ.get("MAAS_TRAINING_ADDRESS", TRAINING_ADDRESS),
            os.environ.get("MAAS_INFERENCE_ADDRESS", INFERENCE_ADDRESS),
        )
