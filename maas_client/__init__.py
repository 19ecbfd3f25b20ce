"""The Python client and the maas command."""
