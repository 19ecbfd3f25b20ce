"""The Python client of maas, and the `maas` command."""

from maas_client import errors
from maas_client.async_client import AsyncClient
from maas_client.client import Client
from maas_client.typed.gates import Gate, Requirement

__all__ = ["AsyncClient", "Client", "Gate", "Requirement", "errors"]
