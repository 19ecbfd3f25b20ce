"""The Python client of maas, and the `maas` command."""

from maas_client.client import Client

__all__ = ["Client"]
