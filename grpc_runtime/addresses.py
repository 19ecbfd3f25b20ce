"""Addresses of gRPC servers: their syntax, and the channel options that bypass a proxy for local ones."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from model_store.hosts import is_this_machine

# As gRPC reads them: the first that is set wins (https://grpc.github.io/grpc/core/md_doc_environment_variables.html).
_PROXY_VARIABLES = ("grpc_proxy", "https_proxy", "http_proxy")
NO_PROXY = (("grpc.enable_http_proxy", 0),)
"""Options of a channel that never goes through a proxy."""
_NAMING = ("dns:", "unix:", "unix-abstract:", "ipv4:", "ipv6:", "xds:", "vsock:", "passthrough:")
_MAX_PORT = 65535
_DEFAULT_PROXY_PORT = 443  # gRPC's default, for every scheme


def check_bind(address: str) -> str:
    """Return an address to listen on, `host:port` with a port from 0; raise ValueError for another form."""
    return _checked(address, least_port=0)


def check_target(address: str) -> str:
    """Return an address to connect to, `host:port` or a name in gRPC's syntax; raise ValueError for another form."""
    return address if address.startswith(_NAMING) else _checked(address, least_port=1)


def channel_options(address: str) -> tuple[tuple[str, int], ...]:
    """Return the channel options for an address: an address of this machine is never reached through a proxy."""
    # Without gRPC's way of naming, as in dns:///localhost:50051 and ipv4:127.0.0.1:50051.
    host = re.sub(r"^(dns|ipv4|ipv6):", "", address.rpartition("/")[2]).rpartition(":")[0]
    return NO_PROXY if is_this_machine(host.strip("[]")) else ()


def proxy_remark(details: str, environment: Mapping[str, str] = os.environ) -> str:
    """Say that a proxy is in the way, where an error's text names the proxy's address; else return an empty text."""
    variable = next((name for name in _PROXY_VARIABLES if environment.get(name)), "")
    port = _port_of(environment[variable]) if variable else None
    if port is None or not re.search(rf":{port}\b", details):
        return ""
    return f"{variable} is set and sends calls through a proxy: name the service's host in no_proxy to do without it"


def _checked(address: str, *, least_port: int) -> str:
    host, _, port = address.rpartition(":")
    is_host = bool(re.fullmatch(r"\[[0-9a-fA-F:.]+(%\w+)?\]|[^\s:/\[\]]+", host))
    if not is_host or not re.fullmatch(r"[0-9]{1,5}", port) or not least_port <= int(port) <= _MAX_PORT:
        raise ValueError(
            f"must be host:port with a port from {least_port} to {_MAX_PORT}, such as 127.0.0.1:50051, "
            f"and no http:// before it, not {address[:80]!r}"
        )
    return address


def _port_of(proxy: str) -> int | None:
    try:
        return urlsplit(proxy).port or _DEFAULT_PROXY_PORT
    except ValueError:
        return None
