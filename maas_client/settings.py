"""Where the client finds the services: `MAAS_TRAINING_ADDRESS` and `MAAS_INFERENCE_ADDRESS`, or where they listen."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from grpc_runtime.addresses import check_target
from grpc_runtime.variables import near_misses
from maas_client.errors import InvalidArgument

INFERENCE_ADDRESS = "127.0.0.1:50051"
TRAINING_ADDRESS = "127.0.0.1:50052"
_VARIABLES = (
    "MAAS_HOME",
    *(f"MAAS_{service}_{what}" for service in ("TRAINING", "INFERENCE") for what in ("ADDRESS", "BIND")),
)
_OF_SERVICES = (
    "MAAS_TRAINING_ADDRESS_FILE",
    "MAAS_INFERENCE_ADDRESS_FILE",
    "MAAS_INFERENCE_ADDRESSES",
    "MAAS_INFERENCE_PINNED",
    "MAAS_TRAINING_INFERENCE_ADDRESSES",
)


_HOST = re.compile(r"[^\s:/\[\]]+|\[[0-9a-fA-F:.]+\]")
"""A host without a port."""


class InvalidAddress(InvalidArgument):
    """What names a service is no address; the text says which one, and what an address looks like."""


@dataclass(frozen=True)
class ClientSettings:
    """Addresses, as `host:port`, and how long to wait for a service that was there and does not answer any more.

    While a call is under way, a silent connection is tested every `keepalive_seconds`, and broken off where no answer
    comes in as long: a link that was cut is closed by no packet.
    """

    training_address: str
    inference_address: str
    reconnect_seconds: float = 60.0
    keepalive_seconds: float = 20.0

    def __post_init__(self) -> None:
        """Raise InvalidAddress where an address is none."""
        for field in ("training_address", "inference_address"):
            _checked(field, getattr(self, field))

    @property
    def addresses(self) -> Mapping[str, str]:
        """The address of each service, by its name."""
        return {"training": self.training_address, "inference": self.inference_address}

    @classmethod
    def from_environment(cls) -> ClientSettings:
        """Read the variables; plain `os.environ`, because a client must start in no time. Raises InvalidAddress."""
        return cls(_address("TRAINING", TRAINING_ADDRESS), _address("INFERENCE", INFERENCE_ADDRESS))

    @classmethod
    def of(cls, address: str = "", *, training: str = "", inference: str = "") -> ClientSettings:
        """Return where one address, or one for each service, leads to; what is not given is read from the variables.

        A host without a port stands for both services' own ports on it. Raises InvalidAddress.
        """
        if address and _HOST.fullmatch(address):
            ports = (each.rpartition(":")[2] for each in (TRAINING_ADDRESS, INFERENCE_ADDRESS))
            of_training, of_inference = (f"{address}:{port}" for port in ports)
        else:
            of_training = of_inference = address
        return cls(
            training or of_training or _address("TRAINING", TRAINING_ADDRESS),
            inference or of_inference or _address("INFERENCE", INFERENCE_ADDRESS),
        )


def mistyped_variables() -> Iterator[str]:
    """Yield a remark for each variable that is nearly one that the client reads."""
    return near_misses(os.environ, _VARIABLES, _OF_SERVICES)


def _address(service: str, default: str) -> str:
    """Return where a service is: whoever moved it by its BIND must not reach another one on the default port."""
    if address := os.environ.get(f"MAAS_{service}_ADDRESS"):
        return _checked(f"MAAS_{service}_ADDRESS", address)
    bind = os.environ.get(f"MAAS_{service}_BIND", default)
    host, _, port = bind.rpartition(":")
    if port == "0":  # any free port: only the service itself knows it
        return default
    return _checked(f"MAAS_{service}_BIND", f"127.0.0.1:{port}" if host in {"0.0.0.0", "[::]"} else bind)  # noqa: S104  not bound, connected to


def _checked(name: str, address: str) -> str:
    try:
        return check_target(address)
    except ValueError as error:
        raise InvalidAddress(f"{name} {error}") from error
